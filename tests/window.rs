//! `--search window`: layers may go from below, too. What is measured is what a full forward gives, and what is written is what was
//! measured.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fixture, lora_slim, pico_loss, read_json};

/// Pico adapters, and flags with which a layer can go from below.
const CASES: [(&str, &[&str]); 5] = [
    ("mistral", &["--margin", "30%", "--confidence", "0.5"]),
    ("mixtral", &["--margin", "30%", "--confidence", "0.5"]),
    ("smollm3", &["--choose", "best", "--loss-only"]),
    ("gemma2", &["--margin", "30%", "--confidence", "0.5", "--loss-only"]),
    ("phi3", &[]),
];

/// Runs `slim --search window` on a pico adapter.
fn slim(folder: &Path, case: &str, more: &[&str]) -> Value {
    let case = fixture("pico").join(case);
    let out = folder.join("out");
    let mut command = lora_slim();
    command.arg("slim").arg(case.join("adapter")).arg("--base").arg(case.join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--precision", "f32", "--force", "-o"]);
    command.arg(&out).args(["--search", "window"]).args(more).assert().success();
    read_json(&out.join("slim_report.json"))
}

/// The loss of a written adapter, all of which is on in each layer: nothing forks, so this is an independent full forward.
fn loss_of(adapter: &Path, case: &str) -> f64 {
    pico_loss(&fixture("pico/samples.tokens.jsonl"), adapter, case)
}

/// The loss of an adapter that was cut to these layers.
fn loss_of_layers(folder: &Path, case: &str, layers: &[u64]) -> f64 {
    let out = folder.join("cut");
    let list: Vec<String> = layers.iter().map(u64::to_string).collect();
    let mut cut = lora_slim();
    cut.arg("cut").arg(fixture("pico").join(case).join("adapter")).args(["--keep-layers", &list.join(","), "--force"]);
    cut.arg("-o").arg(&out).assert().success();
    loss_of(&out, case)
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

#[test]
fn what_is_left_is_written_and_measured() {
    let folder = TempDir::new().unwrap();
    let mut dropped = 0;
    for (case, flags) in CASES {
        let report = slim(folder.path(), case, flags);
        let window = &report["window"];
        let out = folder.path().join("out");
        let (said, measured) = (window["loss"].as_f64().unwrap(), loss_of(&out, case));
        assert!((measured - said).abs() < 1e-5, "{case}: {measured} instead of {said}");
        let (first, boundary) = (window["first_layer"].as_u64().unwrap(), window["boundary"].as_u64().unwrap());
        assert_eq!(boundary, report["chosen"]["boundary"].as_u64().unwrap());
        let layers = numbers(&report["adapter"]["layers"]);
        let (kept, gone) = (numbers(&report["output"]["kept_layers"]), numbers(&window["dropped_layers"]));
        let within = |range: std::ops::Range<u64>| {
            layers.iter().copied().filter(|layer| range.contains(layer)).collect::<Vec<_>>()
        };
        assert_eq!(kept, within(first..boundary), "{case}");
        assert_eq!(gone, within(0..first), "{case}");
        dropped += gone.len();
        let original = fixture("pico").join(case).join("adapter");
        lora_slim().arg("verify").arg(&original).arg(&out).arg("--any-layers").assert().success();
    }
    assert!(dropped >= 4, "only {dropped} layers were dropped from below, the test shows little");
}

/// Every window of the curve has the loss of an adapter that was cut to it.
#[test]
fn the_curve_from_below_is_what_full_forwards_give() {
    let folder = TempDir::new().unwrap();
    for (case, more) in [("mistral", &["--boundary", "3"][..]), ("smollm3", &[]), ("mixtral", &["--choose", "best"])] {
        let report = slim(folder.path(), case, more);
        let (window, layers) = (&report["window"], numbers(&report["adapter"]["layers"]));
        let points = window["from_below"].as_array().unwrap();
        assert!(points.len() >= 2, "{case}: {points:?}");
        for point in points {
            let range = point["first_layer"].as_u64().unwrap()..window["boundary"].as_u64().unwrap();
            let kept: Vec<u64> = layers.iter().copied().filter(|layer| range.contains(layer)).collect();
            let (said, measured) = (point["loss"].as_f64().unwrap(), loss_of_layers(folder.path(), case, &kept));
            assert!((measured - said).abs() < 1e-5, "{case}, {range:?}: {measured} instead of {said}");
        }
    }
}

#[test]
fn a_scale_a_step_and_controls_come_on_top() {
    let folder = TempDir::new().unwrap();
    let test = folder.path().join("test.jsonl");
    let line = |sample: usize| {
        let ids: Vec<usize> = (0..8).map(|place| 3 + (7 * sample + 13 * place) % 50).collect();
        serde_json::json!({ "input_ids": ids }).to_string()
    };
    std::fs::write(&test, (0..6).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let more = ["--choose", "best", "--loss-only", "--scale", "0.75", "--dtype", "bf16", "--controls", "--test"];
    let report = slim(folder.path(), "smollm3", &[&more[..], &[test.to_str().unwrap()]].concat());
    let measured = loss_of(&folder.path().join("out"), "smollm3");
    let written = report["steps"].as_array().unwrap().last().unwrap();
    assert!((measured - written["losses"]["loss"].as_f64().unwrap()).abs() < 1e-5, "{written}");
    let first = &report["alternatives"][0];
    assert_eq!(first["samples"]["loss"], report["scale"]["loss"]);
    assert_eq!(numbers(&first["layers"]), numbers(&report["output"]["kept_layers"]));
}

/// The terminal has one line, and the page a section.
#[test]
fn the_window_is_told() {
    let folder = TempDir::new().unwrap();
    let case = fixture("pico/mistral");
    let page = folder.path().join("page.html");
    let mut command = lora_slim();
    command.arg("scan").arg(case.join("adapter")).arg("--base").arg(case.join("base")).arg("--report").arg(&page);
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl"));
    command.args(["--search", "window", "--margin", "30%", "--confidence", "0.5"]);
    let told = String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap();
    assert!(told.contains("can go from below"), "{told}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<section id=\"window\">") && page.contains("dropped from below"));
}
