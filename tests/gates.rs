//! Gates: what fails one is not written, but reported whole.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, copy_folder, document, documents, fixture, lora_slim, read_json, slim, stdout};

const FAILED_GATE: i32 = 6;
const USAGE: i32 = 2;

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn scan(more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = lora_slim();
    command.arg("scan").arg(fixture(ADAPTER)).arg("--base").arg(fixture("pico/llama-llama3-rope/base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(more).assert()
}

fn cut(folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().current_dir(folder).arg("cut").arg(fixture(ADAPTER)).args(["-o", "out"]).args(more).assert()
}

#[test]
fn gates_that_hold_are_in_the_report() {
    let folder = TempDir::new().unwrap();
    let more = ["--boundary", "3", "--require-saving", "50%", "--max-loss-increase", "0.9", "--min-samples", "12"];
    let text = stdout(slim(folder.path(), &more).success());
    assert!(text.contains("gate passed: `--require-saving 50%`, 50.00 % are saved"), "{text}");
    let gates = read_json(&folder.path().join("out/slim_report.json"))["gates"].clone();
    assert_eq!(gates[0], json!({"gate": "require-saving", "asked": 0.5, "measured": 0.5, "passed": true}));
    assert_eq!(gates[1]["gate"], "max-loss-increase");
    assert_eq!(gates[1]["on"], "choosing");
    assert_eq!(gates[2], json!({"gate": "min-samples", "asked": 12.0, "measured": 12.0, "passed": true}));
}

#[test]
fn all_that_fail_are_named_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let more = ["--boundary", "3", "--require-saving", "0.6", "--max-loss-increase", "0.1%", "--min-samples", "2"];
    let assert = slim(folder.path(), &[&more[..], &["--report", "page.html", "--json"]].concat()).code(FAILED_GATE);
    let said = stderr(&assert);
    assert!(
        said.contains("error: gates failed: `--require-saving 60%`, 50.00 % are saved; `--max-loss-increase 0.1%`")
    );
    assert!(!said.contains("--min-samples"), "{said}");
    let report = document(stdout(assert));
    let passed: Vec<bool> = report["gates"].as_array().unwrap().iter().map(|g| g["passed"] == true).collect();
    assert_eq!(passed, [false, false, true]);
    assert_eq!(report["curve"].as_array().unwrap().len(), 7, "everything is reported");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<section id=\"gates\">") && page.contains("--require-saving 60%, 50.00 % are saved"));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["page.html"]);
    // A dry run answers as the run would.
    slim(folder.path(), &[&more[..], &["--dry-run"]].concat()).code(FAILED_GATE);
}

/// The loss is that of the last step, on held-out samples if there are any.
#[test]
fn the_loss_is_that_of_what_is_written() {
    let gate = ["--max-loss-increase", "0.9"];
    let measure = |more: &[&str]| -> (f64, Value) {
        let assert = scan(&[&["--boundary", "3", "--json"], &gate[..], more].concat()).success();
        let report = document(stdout(assert));
        (report["gates"][0]["measured"].as_f64().unwrap(), report)
    };
    let close = |measured: f64, losses: [&Value; 2]| {
        let [written, whole] = losses.map(|loss| loss.as_f64().unwrap());
        assert!((measured - (written / whole - 1.0)).abs() < 1e-12, "{measured}");
    };
    let (plain, report) = measure(&[]);
    close(plain, [&report["curve"][3]["loss"], &report["curve"][6]["loss"]]);
    let (reduced, report) = measure(&["--rank", "2"]);
    close(reduced, [&report["steps"][1]["losses"]["loss"], &report["curve"][6]["loss"]]);
    let (scaled, report) = measure(&["--scale", "0.5"]);
    close(scaled, [&report["scale"]["loss"], &report["curve"][6]["loss"]]);
    let (held_out, report) = measure(&["--holdout", "0.4"]);
    close(held_out, [&report["held_out"]["chosen"]["loss"], &report["held_out"]["whole"]["loss"]]);
    assert_eq!(report["gates"][0]["on"], "held-out");
    let (both, report) = measure(&["--holdout", "0.4", "--rank", "2"]);
    close(both, [&report["steps"][1]["held_out"]["loss"], &report["held_out"]["whole"]["loss"]]);
}

#[test]
fn too_few_samples_are_found_out_before_the_sweep() {
    let folder = TempDir::new().unwrap();
    let assert = slim(folder.path(), &["--max-samples", "8", "--min-samples", "9", "--json"]).code(FAILED_GATE);
    assert!(stderr(&assert).contains("`--min-samples 9`, 8 different ones choose"), "{}", stderr(&assert));
    assert_eq!(stdout(assert), "");
    scan(&["--holdout", "0.5", "--min-samples", "7"]).code(FAILED_GATE);
}

/// A scan is no gatekeeper of files, but of what comes after it.
#[test]
fn scan_prints_and_fails() {
    let assert = scan(&["--boundary", "3", "--json", "--require-saving", "51%"]).code(FAILED_GATE);
    let report = document(stdout(assert));
    assert_eq!(report["gates"][0]["passed"], false);
}

#[test]
fn a_cut_has_to_save_enough_in_every_form() {
    let folder = TempDir::new().unwrap();
    let base = fixture("pico/llama-llama3-rope/base");
    let forms: [&[&str]; 3] = [&[], &["--rank", "3"], &["--format", "mlx", "--base", base.to_str().unwrap()]];
    for form in forms {
        let run = |least| cut(folder.path(), &[&["--boundary", "3", "--require-saving", least], form].concat());
        let assert = run("99%").code(FAILED_GATE);
        assert!(stderr(&assert).contains("a gate failed: `--require-saving 99%`"), "{}", stderr(&assert));
        assert!(stdout(assert).contains("gate FAILED"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{form:?}");
        assert!(stdout(run("50%").success()).contains("gate passed"));
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
}

/// One that fails is refused, not failed, and the others go on.
#[test]
fn a_batch_judges_each_adapter() {
    let folder = TempDir::new().unwrap();
    let original = fixture(ADAPTER);
    copy_folder(&original, &folder.path().join("in/whole"));
    let half = folder.path().join("in/half");
    lora_slim().arg("cut").arg(&original).args(["--boundary", "3", "-o"]).arg(&half).assert().success();
    let (base, samples) = (fixture("pico/llama-llama3-rope/base"), fixture("pico/samples.tokens.jsonl"));
    let evaluate = ["--base", base.to_str().unwrap(), "--samples", samples.to_str().unwrap()];
    for (out, more) in [("slimmed", &evaluate[..]), ("cut", &[])] {
        let mut command = lora_slim();
        command.current_dir(folder.path()).args([
            "batch",
            "in",
            "-o",
            out,
            "--boundary",
            "3",
            "--require-saving",
            "1%",
        ]);
        let assert = command.args(more).assert().code(FAILED_GATE);
        assert!(stdout(assert).contains("`--require-saving 1%`, 0.00 % are saved"));
        let left = |name: &str| folder.path().join(out).join(name).join("slim_report.json").is_file();
        assert!(left("whole") && !left("half"));
        let results = fs::read_to_string(folder.path().join(out).join("results.jsonl")).unwrap();
        let records = documents(&results);
        assert_eq!((&records[0]["status"], &records[0]["exit_code"]), (&json!("refused"), &json!(FAILED_GATE)));
        assert_eq!(records[0]["bytes_after"], records[0]["bytes_before"]);
        assert_eq!(records[1]["status"], "done");
    }
}

#[test]
fn absurd_gates_are_usage_errors() {
    let folder = TempDir::new().unwrap();
    for (flag, value) in [
        ("--require-saving", "-1%"),
        ("--require-saving", "100%"),
        ("--require-saving", "much"),
        ("--max-loss-increase", "-0.1"),
        ("--max-loss-increase", "NaN"),
        ("--min-samples", "0"),
        ("--min-samples", "-3"),
    ] {
        let assert = slim(folder.path(), &[flag, value]).code(USAGE);
        assert!(stderr(&assert).contains(flag), "{}", stderr(&assert));
    }
    cut(folder.path(), &["--boundary", "3", "--require-saving", "-1"]).code(USAGE);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
