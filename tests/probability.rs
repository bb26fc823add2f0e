//! The probability curve: against transformers + PEFT (`scripts/fixtures/probability.py`), and as the rule `curve` reads it.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, document, fixture, lora_slim, read_json, slim, stdout};

/// Of a probability, as a share of it: those of random models are small.
const TOLERANCE: f64 = 1e-4;
/// Nats per answer token.
const LOSS_TOLERANCE: f64 = 2e-5;

fn scan(case: &str, more: &[&str]) -> assert_cmd::assert::Assert {
    let folder = fixture("pico").join(case);
    let mut command = lora_slim();
    command.arg("scan").arg(folder.join("adapter")).arg("--base").arg(folder.join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--quiet", "--precision", "f32"]);
    command.args(more).assert().success()
}

fn scan_json(case: &str, more: &[&str]) -> Value {
    let assert = scan(case, &[&["--json"], more].concat());
    document(&assert.get_output().stdout)
}

fn check(case: &str) {
    let report = scan_json(case, &["--probability"]);
    let expected = read_json(&fixture("pico").join(case).join("probability.json"));
    let (got, wanted) = (report["probability"].as_array().unwrap(), expected["probability"].as_array().unwrap());
    assert_eq!(got.len(), wanted.len());
    for (point, wanted) in got.iter().zip(wanted) {
        assert_eq!(point["layers"], wanted["layers"]);
        for stream in ["base", "adapted"] {
            let value = |of: &Value, name: &str| of[stream][name].as_f64().unwrap();
            let off = value(point, "probability") / value(wanted, "probability") - 1.0;
            assert!(off.abs() < TOLERANCE, "{stream} behind {} layers: off by {off}", point["layers"]);
            let off = value(point, "loss") - value(wanted, "loss");
            assert!(off.abs() < LOSS_TOLERANCE, "{stream} behind {} layers: off by {off}", point["layers"]);
        }
    }
}

#[test]
fn rms_norm_and_rope() {
    check("llama-llama3-rope");
}

#[test]
fn tied_head_and_softcap() {
    check("gemma2");
}

#[test]
fn layer_norm_and_parallel_residual() {
    check("stablelm-parallel");
}

#[test]
fn the_last_layer_is_where_the_boundaries_end() {
    let report = scan_json("llama-llama3-rope", &["--probability"]);
    let close = |a: &Value, b: &Value| assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5, "{a}, {b}");
    close(&report["probability"][6]["base"]["loss"], &report["curve"][0]["loss"]);
    close(&report["probability"][6]["adapted"]["loss"], &report["curve"][6]["loss"]);
    assert_eq!(scan_json("llama-llama3-rope", &[]).get("probability"), None);
}

#[test]
fn little_memory_changes_nothing() {
    let report = |more: &[&str]| scan_json("llama-llama3-rope", &[&["--probability"], more].concat());
    let (all, little) = (report(&[]), report(&["--memory", "500KB"]));
    assert!(little["work"]["passes"].as_u64() > all["work"]["passes"].as_u64());
    for (one, other) in all["probability"].as_array().unwrap().iter().zip(little["probability"].as_array().unwrap()) {
        let off = one["adapted"]["loss"].as_f64().unwrap() - other["adapted"]["loss"].as_f64().unwrap();
        assert!(off.abs() < 1e-5, "behind {} layers: off by {off}", one["layers"]);
    }
}

/// What is read needs no losses, so only those that judge it are evaluated; where all are, the choice is the same.
#[test]
fn a_boundary_is_read_and_then_judged() {
    let read = |more: &[&str]| scan_json("stablelm-parallel", &[&["--choose", "curve"], more].concat());
    let (all, few) = (read(&["--search", "exhaustive"]), read(&["--search", "adaptive"]));
    assert_eq!(all["chosen"]["boundary"], few["chosen"]["boundary"]);
    assert_eq!(all["chosen"]["rule"], "curve");
    assert_eq!((few.get("dropped"), few["work"].get("error_probability")), (None, None), "nothing was ruled out");
    let boundaries: Vec<u64> =
        few["curve"].as_array().unwrap().iter().map(|point| point["boundary"].as_u64().unwrap()).collect();
    assert!(
        boundaries.len() <= 3 && boundaries.contains(&few["chosen"]["boundary"].as_u64().unwrap()),
        "{boundaries:?}"
    );
    assert_eq!(all["curve"].as_array().unwrap().len(), all["probability"].as_array().unwrap().len());
    let shares = few["stability"].as_array().unwrap().iter().map(|share| share["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
    assert_eq!(all["stability"], few["stability"]);
}

#[test]
fn limits_hold_for_what_is_read() {
    for most in 1..=4 {
        let limit = most.to_string();
        let report = scan_json(
            "stablelm-parallel",
            &["--choose", "curve", "--loss-only", "--max-layers", &limit, "--search", "adaptive"],
        );
        assert!(report["chosen"]["boundary"].as_u64().unwrap() <= most, "{}", report["chosen"]);
    }
}

#[test]
fn slim_writes_what_is_read_and_says_so() {
    let folder = TempDir::new().unwrap();
    let text = stdout(slim(folder.path(), &["--choose", "curve", "--holdout", "25%"]).success());
    let report = read_json(&folder.path().join("out/slim_report.json"));
    assert!(text.contains(&format!("boundary {} (curve): ", report["chosen"]["boundary"])), "{text}");
    assert_eq!(report["held_out"]["chosen"]["boundary"], report["chosen"]["boundary"]);
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("how likely")).take(10).collect();
    assert!(table.len() == 10 && table.iter().all(|line| line.chars().count() <= 80), "{table:#?}");
    assert!(table[9].trim_start().starts_with('6'), "one line for each of 0 to 6 layers: {table:#?}");
}

#[test]
fn the_page_has_the_numbers_of_the_json() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    let report = scan_json("llama-llama3-rope", &["--choose", "curve", "--report", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    let start = page.find("<section id=\"probability\">").unwrap();
    let part = &page[start..start + page[start..].find("</section>").unwrap()];
    let numbers: Vec<Value> = part
        .split("<data value=\"")
        .skip(1)
        .map(|rest| json!(rest.split('"').next().unwrap().parse::<f64>().unwrap()))
        .collect();
    let of_point = |point: &Value| {
        [("base", "probability"), ("adapted", "probability"), ("base", "loss"), ("adapted", "loss")]
            .map(|(stream, name)| point[stream][name].clone())
    };
    let expected: Vec<Value> = report["probability"].as_array().unwrap().iter().flat_map(of_point).collect();
    assert_eq!(numbers, expected);
    let plain = scan(ADAPTER.split('/').nth(1).unwrap(), &["--boundary", "3"]);
    assert!(!stdout(plain).contains("how likely"));
}
