//! `--search subset` and `blocks`: more parts may go, what is written is what was measured, and it is said so.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fixture, lora_slim, other_samples, pico_loss, read_json};

/// Pico adapters, and flags with which parts can go.
const CASES: [(&str, &[&str]); 5] = [
    ("mistral", &["--margin", "30%", "--confidence", "0.5"]),
    ("mixtral", &["--margin", "30%", "--confidence", "0.5"]),
    ("phi3", &["--margin", "60%", "--confidence", "0.5", "--loss-only"]),
    ("smollm3", &["--choose", "best", "--loss-only"]),
    ("gemma2", &["--margin", "30%", "--confidence", "0.5"]),
];

/// Runs `slim` on a pico adapter.
fn slim(folder: &Path, case: &str, more: &[&str]) -> Value {
    let case = fixture("pico").join(case);
    let out = folder.join("out");
    let mut command = lora_slim();
    command.arg("slim").arg(case.join("adapter")).arg("--base").arg(case.join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--precision", "f32", "--force", "-o"]);
    command.arg(&out).args(more).assert().success();
    read_json(&out.join("slim_report.json"))
}

fn loss_of(adapter: &Path, case: &str) -> f64 {
    pico_loss(&fixture("pico/samples.tokens.jsonl"), adapter, case)
}

#[test]
fn what_is_left_is_written_and_measured() {
    let folder = TempDir::new().unwrap();
    let mut removed = 0;
    for (case, flags) in CASES {
        for search in ["subset", "blocks"] {
            let report = slim(folder.path(), case, &[&["--search", search], flags].concat());
            let subset = &report["subset"];
            let out = folder.path().join("out");
            let measured = loss_of(&out, case);
            let said = subset["loss"].as_f64().unwrap();
            assert!((measured - said).abs() < 1e-5, "{case}, {search}: {measured} instead of {said}");
            let kept = subset["kept"].as_array().unwrap();
            let layers: Vec<&Value> = kept.iter().map(|part| &part["layer"]).collect();
            assert_eq!(layers, report["output"]["kept_layers"].as_array().unwrap().iter().collect::<Vec<_>>());
            assert!(!kept.is_empty() && kept.iter().all(|part| part["attention"] == true || part["mlp"] == true));
            let gone = subset["removed"].as_array().unwrap();
            assert!(gone.iter().all(|part| part.get("block").is_some() == (search == "blocks")), "{gone:?}");
            removed += gone.len();
            // Byte for byte parts of the original, but not those below one boundary.
            let original = fixture("pico").join(case).join("adapter");
            lora_slim().arg("verify").arg(&original).arg(&out).arg("--any-layers").assert().success();
        }
    }
    assert!(removed > 0, "no part was taken out, the test shows nothing");
}

/// Each row is what its name, its layers and its scale say, on the samples that choose and on held-out ones.
#[test]
fn alternatives_to_a_subset_are_what_their_rows_say() {
    let folder = TempDir::new().unwrap();
    let (samples, held_out) = (fixture("pico/samples.tokens.jsonl"), other_samples(folder.path()));
    let case = "smollm3";
    let adapter = fixture("pico").join(case).join("adapter");
    for more in [&["--controls"][..], &["--scale", "tune"], &["--controls", "--scale", "tune"], &[]] {
        let test = ["--search", "subset", "--choose", "best", "--loss-only", "--test", held_out.to_str().unwrap()];
        let report = slim(folder.path(), case, &[&test[..], more].concat());
        let rows = report["alternatives"].as_array().unwrap();
        let written = &rows[0];
        assert_eq!(written["kept"], "subset", "{more:?}");
        assert_eq!(report["held_out"]["chosen"]["boundary"], report["chosen"]["boundary"]);
        for (place, row) in rows.iter().enumerate() {
            let layers: Vec<String> = row["layers"].as_array().unwrap().iter().map(Value::to_string).collect();
            let out = folder.path().join(format!("{place}"));
            let scale = row["scale"].to_string();
            let mut cut = lora_slim();
            cut.arg("cut").arg(&adapter).args(["--keep-layers", &layers.join(","), "--scale", &scale, "--force", "-o"]);
            cut.arg(&out).assert().success();
            for (on, file) in [("samples", &samples), ("held_out", &held_out)] {
                let (said, measured) = (row[on]["loss"].as_f64().unwrap(), pico_loss(file, &out, case));
                assert!((said - measured).abs() < 1e-5, "{more:?}, {row}: {measured}");
            }
        }
    }
}

#[test]
fn a_scale_comes_on_top() {
    let folder = TempDir::new().unwrap();
    let more = ["--search", "subset", "--choose", "best", "--loss-only", "--scale", "0.75"];
    let report = slim(folder.path(), "smollm3", &more);
    let measured = loss_of(&folder.path().join("out"), "smollm3");
    assert!((measured - report["scale"]["loss"].as_f64().unwrap()).abs() < 1e-5);
    assert_eq!(report["alternatives"][0]["kept"], "subset");
}
