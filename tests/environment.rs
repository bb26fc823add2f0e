//! `LORA_SLIM_*`: flags from the environment, under those of the command line and over those of a config file.

use std::fs;

use assert_cmd::assert::Assert;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, fixture, lora_slim, stdout};

/// Runs a command on the pico adapter with these variables, in a folder with a config file.
fn run(config: &str, command: &[&str], variables: &[(&str, &str)]) -> Assert {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("lora-slim.toml"), config).unwrap();
    let mut program = lora_slim();
    program.current_dir(folder.path()).arg(command[0]).arg(fixture(ADAPTER)).args(&command[1..]);
    program.envs(variables.iter().copied()).assert()
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn scan(config: &str, more: &[&str], variables: &[(&str, &str)]) -> Value {
    let base = fixture("pico/llama-llama3-rope/base").display().to_string();
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let all = [&[("LORA_SLIM_BASE", base.as_str()), ("LORA_SLIM_SAMPLES", samples.as_str())], variables].concat();
    let assert = run(config, &[&["scan", "--json"], more].concat(), &all).success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

#[test]
fn a_variable_beats_the_file_and_a_flag_beats_the_variable() {
    let count = |config: &str, more: &[&str], variables: &[(&str, &str)]| {
        scan(config, more, variables)["samples"]["count"].as_u64().unwrap()
    };
    let variable = [("LORA_SLIM_MAX_SAMPLES", "2")];
    assert_eq!(count("", &[], &variable), 2);
    assert_eq!(count("max-samples = 3", &[], &variable), 2);
    assert_eq!(count("[scan]\nmax-samples = 3", &[], &variable), 2);
    assert_eq!(count("max-samples = 3", &["--max-samples", "4"], &variable), 4);
    assert_eq!(count("max-samples = 3", &[], &[("LORA_SLIM_MAX_SAMPLES", "")]), 3, "an empty variable is none");
}

#[test]
fn what_conflicts_gives_way() {
    let rule = |more: &[&str], variables: &[(&str, &str)]| {
        scan("choose = 'best'", more, variables)["options"]["rule"].as_str().unwrap().to_string()
    };
    assert_eq!(rule(&[], &[("LORA_SLIM_BOUNDARY", "2")]), "boundary");
    assert_eq!(rule(&["--choose", "smallest"], &[("LORA_SLIM_BOUNDARY", "2")]), "smallest");
}

#[test]
fn switches_are_yes_or_no() {
    let probability = |config: &str, value: &str| {
        scan(config, &[], &[("LORA_SLIM_PROBABILITY", value)])["probability"]
            .as_array()
            .is_some_and(|curve| !curve.is_empty())
    };
    assert!(probability("", "1") && probability("", "true") && probability("", "Yes"));
    assert!(!probability("", "0") && !probability("probability = true", "off"));
    let assert = run("", &["inspect"], &[("LORA_SLIM_JSON", "perhaps")]).code(2);
    assert!(stderr(&assert).contains("`LORA_SLIM_JSON` is `perhaps`") && stderr(&assert).contains("hint: "));
}

#[test]
fn one_variable_serves_all_commands() {
    // `inspect` has no `--margin`, and nothing is said of it.
    let assert = run("", &["inspect"], &[("LORA_SLIM_MARGIN", "5%"), ("LORA_SLIM_JSON", "1")]).success();
    assert!(
        !stderr(&assert).contains("MARGIN") && stderr(&assert).contains("using `LORA_SLIM_JSON` of the environment")
    );
    let printed: Value = serde_json::from_str(&stdout(assert)).unwrap();
    assert!(printed.is_object());
    assert_eq!(stderr(&run("", &["inspect"], &[("LORA_SLIM_QUIET", "1")]).success()), "");
    let printed = stdout(run("", &["cut", "-o", "out", "--print-config"], &[("LORA_SLIM_RANK", "4")]).success());
    assert!(printed.contains("rank = 4"), "{printed}");
    // Flags of the file itself.
    assert_eq!(
        stderr(&run("nonsense = 1", &["inspect"], &[("LORA_SLIM_NO_CONFIG", "1")]).success()).lines().count(),
        1
    );
}

#[test]
fn unknown_variables_are_named() {
    let said = |name: &str| stderr(&run("", &["inspect"], &[(name, "x")]).success());
    let text = said("LORA_SLIM_BSAE");
    assert!(
        text.contains(" WARN the variable `LORA_SLIM_BSAE` stands for no flag; did you mean `LORA_SLIM_BASE`?"),
        "{text}"
    );
    assert!(said("LORA_SLIM_ZZZZZZ").contains("stands for no flag\n"));
    // Kubernetes sets these for a service that is called so; the other is the program's own.
    for name in ["LORA_SLIM_SERVICE_HOST", "LORA_SLIM_PORT_80_TCP_ADDR", "LORA_SLIM_UNIT", "LORA_SLIMMER"] {
        assert_eq!(said(name), "", "{name}");
    }
}

#[test]
fn a_wrong_value_is_an_error_of_the_variable() {
    let assert = run("", &["cut", "-o", "out"], &[("LORA_SLIM_BOUNDARY", "many")]).code(2);
    let said = stderr(&assert);
    assert!(
        said.contains("using `LORA_SLIM_BOUNDARY`") && said.contains("invalid value 'many' for '--boundary"),
        "{said}"
    );
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let lines = |assert: &Assert| -> Vec<Value> {
        stderr(assert).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let base = fixture("pico/llama-llama3-rope/base").display().to_string();
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let words = ["scan", "--base", &base, "--samples", &samples, "--log-format", "json"];
    let found = lines(&run("", &words, &[]).success());
    let of_level = |level: &str| found.iter().filter(|line| line["level"] == level).collect::<Vec<_>>();
    assert!(of_level("warn").iter().any(|line| line["code"] == "few-samples"), "{found:?}");
    assert!(
        of_level("info").iter().any(|line| line["activity"] == "measuring losses" && line["total"].is_u64()),
        "{found:?}"
    );
    assert!(found.iter().all(|line| line["time"].is_f64() && line["message"].is_string()), "{found:?}");
    assert_eq!(lines(&run("", &[&words[..], &["--quiet"]].concat(), &[]).success()), Vec::<Value>::new());

    let variable = [("LORA_SLIM_LOG_FORMAT", "json")];
    let found = lines(&run("", &["cut", "--boundary", "99", "-o", "out"], &variable).code(2));
    let error = found.last().unwrap();
    assert_eq!((&error["kind"], &error["exit_code"]), (&json!("usage"), &json!(2)), "{found:?}");
    let found = lines(&run("", &["cut", "--boundary", "many", "--log-format=json"], &[]).code(2));
    assert_eq!((&found[0]["level"], &found[0]["kind"]), (&json!("error"), &json!("usage")));
    // What clap refuses before the variables are words of the command line.
    for words in [&["cut", "--boundary", "many"][..], &["cut", "--nonsense"]] {
        let found = lines(&run("", words, &variable).code(2));
        assert_eq!((&found[0]["level"], &found[0]["kind"]), (&json!("error"), &json!("usage")), "{words:?}");
    }
    let typed = stderr(&run("", &["cut", "--nonsense", "--log-format", "text"], &variable).code(2));
    assert!(typed.starts_with("error: "), "{typed}");
    let folder = TempDir::new().unwrap();
    let assert = lora_slim()
        .args(["inspect", "no-such-adapter", "--log-format=json"])
        .current_dir(folder.path())
        .assert()
        .code(3);
    let error = &lines(&assert)[0];
    assert!(error["hint"].is_string() && error["kind"] == "bad-input", "{error}");
}

#[test]
fn verbose_and_rust_log_say_more() {
    let base = fixture("pico/llama-llama3-rope/base").display().to_string();
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let words = ["scan", "--base", &base, "--samples", &samples];
    let says_more = |text: String| text.contains(" INFO measuring losses\n");
    assert!(!says_more(stderr(&run("", &words, &[]).success())));
    assert!(says_more(stderr(&run("", &[&words[..], &["-v"]].concat(), &[]).success())));
    assert!(says_more(stderr(&run("", &words, &[("RUST_LOG", "info")]).success())));
    assert!(says_more(stderr(&run("", &words, &[("RUST_LOG", "lora_slim=debug")]).success())));
    assert!(!says_more(stderr(&run("", &words, &[("RUST_LOG", "error")]).success())));
    assert!(stderr(&run("", &words, &[("RUST_LOG", "lora_slim=loud")]).success()).contains("`RUST_LOG` is not"));
    run("", &[&words[..], &["-v", "-q"]].concat(), &[]).code(2);
}
