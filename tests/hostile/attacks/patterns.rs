//! Patterns of modules in configurations: as many as there are, each is compiled once, and those that would take long are refused.

use serde_json::{Map, Value, json};

use super::{Attack, Sandbox, run_all};

const COMMANDS: [&[&str]; 3] =
    [&["inspect", "adapter"], &["check", "adapter"], &["cut", "adapter", "--boundary", "2", "-o", "out"]];

/// Sets a key to an object of patterns, each with its own number.
fn patterns(sandbox: &Sandbox, count: usize, pattern: impl Fn(usize) -> String) {
    let ranks: Map<String, Value> = (0..count).map(|at| (pattern(at), json!(4))).collect();
    sandbox.edit("adapter/adapter_config.json", |config| {
        config["rank_pattern"] = Value::Object(ranks.clone());
        config["alpha_pattern"] = Value::Object(ranks);
    });
}

fn all(name: &'static str, prepare: fn(&Sandbox), codes: &'static [i32]) {
    for args in COMMANDS {
        run_all(&[Attack::new(name, prepare, args).code(codes, "")]);
    }
}

#[test]
fn many_patterns() {
    all("names", |sandbox| patterns(sandbox, 20_000, |at| format!("x{at}")), &[0, 5]);
    all("anchored names", |sandbox| patterns(sandbox, 20_000, |at| format!(r"^model\.x{at}$")), &[0, 5]);
    all("expressions", |sandbox| patterns(sandbox, 1_000, |at| format!(r".*\.x{at}\d+")), &[0, 5]);
    all("too many expressions", |sandbox| patterns(sandbox, 20_000, |at| format!(r".*\.x{at}\d+")), &[3]);
    all("dots alone", |sandbox| patterns(sandbox, 2_000, |at| ".".repeat(at + 1)), &[0, 3, 5]);
}

#[test]
fn patterns_that_take_long() {
    all("backtracking", |sandbox| patterns(sandbox, 500, |at| format!(r"(?=(\w+\.?)+!)x{at}")), &[0, 3, 5]);
    all("large ones", |sandbox| patterns(sandbox, 500, |at| format!(r"(?:\w{{100}}){{90}}x{at}")), &[0, 3, 5]);
    all("nested ones", |sandbox| patterns(sandbox, 500, |at| format!(r"(?:(?:(?:a|b)*)*)*x{at}")), &[0, 3, 5]);
    all(
        "a list of layers",
        |sandbox| {
            let layers: Vec<String> = (0..5_000).map(|at| format!(r"(?:\w{{100}}){{90}}x{at}")).collect();
            sandbox.edit("adapter/adapter_config.json", |config| {
                config["layers_to_transform"] = json!([0]);
                config["layers_pattern"] = json!(layers);
            });
        },
        &[0, 3, 5],
    );
    all(
        "many targets",
        |sandbox| {
            let names: Vec<String> = (0..200_000).map(|at| format!("x{at}")).collect();
            sandbox.edit("adapter/adapter_config.json", |config| {
                config["exclude_modules"] = json!(names);
                config["target_parameters"] = json!(names);
                config["modules_to_save"] = json!(names);
            });
        },
        &[0, 3, 5],
    );
}
