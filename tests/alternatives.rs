//! `--scale` and `--controls`: what is written is what was measured, and what is compared is what its name says.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ADAPTER, document, fixture, lora_slim, other_samples, read_json, slim};

/// The report of `scan` on a pico model.
fn scan(adapter: &std::path::Path, more: &[&str]) -> Value {
    scan_on("llama-llama3-rope", adapter, more)
}

fn scan_on(case: &str, adapter: &std::path::Path, more: &[&str]) -> Value {
    let mut command = lora_slim();
    command.arg("scan").arg(adapter).arg("--base").arg(fixture("pico").join(case).join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--quiet"]).args(more);
    document(&command.assert().success().get_output().stdout)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number instead of {value}"))
}

/// The loss of the whole adapter in a folder.
fn loss_of(adapter: &std::path::Path) -> f64 {
    number(&scan(adapter, &["--precision", "f32"])["curve"].as_array().unwrap().last().unwrap()["loss"])
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5
}

#[test]
fn what_is_written_has_the_scale_and_its_loss() {
    let folder = TempDir::new().unwrap();
    for scale in ["0.5", "tune"] {
        slim(folder.path(), &["--boundary", "4", "--scale", scale, "--precision", "f32", "--force"]).success();
        let out = folder.path().join("out");
        let report = read_json(&out.join("slim_report.json"));
        let alpha = |config: &Value| number(&config["lora_alpha"]);
        let before = alpha(&read_json(&fixture(ADAPTER).join("adapter_config.json")));
        let after = alpha(&read_json(&out.join("adapter_config.json")));
        assert!(close(after, before * number(&report["scale"]["scale"])), "{before} → {after}");
        assert!(close(loss_of(&out), number(&report["scale"]["loss"])), "{scale}");
        let written = &report["alternatives"][0];
        assert_eq!((&written["written"], &written["samples"]["difference"]), (&true.into(), &0.0.into()));
        assert!(close(number(&written["samples"]["loss"]), number(&report["scale"]["loss"])));
    }
}

#[test]
fn tuning_does_not_raise_the_loss() {
    for more in [&["--choose", "best"][..], &["--boundary", "3"], &["--choose", "best", "--max-layers", "2"]] {
        // An adapter whose curve is a valley.
        let adapter = fixture("pico/mistral/adapter");
        let report = scan_on("mistral", &adapter, &[more, &["--scale", "tune", "--precision", "f32"]].concat());
        let boundary = &report["chosen"]["boundary"];
        let curve = report["curve"].as_array().unwrap();
        let full = curve.iter().find(|point| point["boundary"] == *boundary).unwrap();
        assert!(number(&report["scale"]["loss"]) <= number(&full["loss"]) + 1e-9, "{more:?}");
        let tried = report["scale"]["tried"].as_array().unwrap();
        assert!(tried.len() > 6 && tried.iter().any(|point| point["scale"] == 1.0));
        if let [.., "2"] = more {
            assert!(boundary.as_u64().unwrap() <= 2, "a limit holds at every scale");
        }
    }
}

/// A boundary that was chosen at another scale need not have been evaluated at full strength.
#[test]
fn the_page_tells_of_a_boundary_that_is_not_on_the_curve() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    for more in [&["--search", "adaptive"][..], &["--search", "subset"]] {
        let flags =
            ["--choose", "best", "--loss-only", "--scale", "tune", "--force", "--report", page.to_str().unwrap()];
        scan_on("mistral", &fixture("pico/mistral/adapter"), &[&flags[..], more].concat());
        let html = std::fs::read_to_string(&page).unwrap();
        for section in ["summary", "curve", "trust", "alternatives", "layers", "boundaries"] {
            assert!(html.contains(&format!("id=\"{section}\"")), "{section} is missing with {more:?}");
        }
    }
}

#[test]
fn controls_keep_as_many_layers_and_are_what_a_cut_of_them_gives() {
    let folder = TempDir::new().unwrap();
    let more = ["--boundary", "3", "--controls", "--precision", "f32", "--test"];
    let samples = other_samples(folder.path());
    let report = scan(&fixture(ADAPTER), &[&more[..], &[samples.to_str().unwrap()]].concat());
    let alternatives = report["alternatives"].as_array().unwrap();
    let names: Vec<&str> = alternatives.iter().map(|one| one["kept"].as_str().unwrap()).collect();
    for name in ["everything", "lowest", "highest", "random", "largest-norm", "largest-effect"] {
        // Drawn layers may be those of another row, which is there once.
        assert!(names.contains(&name) || name.starts_with("largest"), "{name} is not among {names:?}");
    }
    for (place, one) in alternatives.iter().enumerate().filter(|(_, one)| one["scale"] == 1.0) {
        let layers: Vec<String> = one["layers"].as_array().unwrap().iter().map(Value::to_string).collect();
        if one["kept"] != "everything" {
            assert_eq!(layers.len(), 3, "{one}");
        }
        let out = folder.path().join(place.to_string());
        let mut cut = lora_slim();
        cut.arg("cut")
            .arg(fixture(ADAPTER))
            .args(["--keep-layers", &layers.join(","), "-o"])
            .arg(&out)
            .assert()
            .success();
        assert!(close(loss_of(&out), number(&one["samples"]["loss"])), "{one}");
        let on_held_out = scan(&out, &["--precision", "f32", "--boundary", "6", "--test", samples.to_str().unwrap()]);
        let whole = &on_held_out["held_out"]["whole"]["loss"];
        assert!(close(number(&one["held_out"]["loss"]), number(whole)), "{one}");
    }
    let again = scan(&fixture(ADAPTER), &[&more[..], &[samples.to_str().unwrap()]].concat());
    assert_eq!(report["alternatives"], again["alternatives"]);
    assert!(scan(&fixture(ADAPTER), &[]).get("alternatives").is_none());
}

#[test]
fn a_scale_is_a_number_above_zero_of_what_has_an_alpha() {
    let folder = TempDir::new().unwrap();
    for wrong in ["0", "-1", "x", "nan", "inf"] {
        let assert = slim(folder.path(), &[&format!("--scale={wrong}")]).code(2);
        assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("tune"), "{wrong}");
    }
    let cut = |kind: &str, scale: &str| {
        let mut cut = lora_slim();
        cut.arg("cut").arg(fixture("kinds").join(kind)).args(["--boundary", "1", "--scale", scale, "-o"]);
        cut.arg(folder.path().join(kind)).assert()
    };
    let assert = cut("ia3", "0.5").code(3);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("no alpha"));
    assert!(!folder.path().join("ia3").exists());
    cut("rank-alpha-patterns", "0.5").success();
    // It is the original at that scale, and at no other.
    for (scale, code) in [("0.5", 0), ("0.25", 5), ("1", 5)] {
        let mut verify = lora_slim();
        verify.arg("verify").arg(fixture("kinds/rank-alpha-patterns")).arg(folder.path().join("rank-alpha-patterns"));
        verify.args(["--scale", scale]).assert().code(code);
    }
}
