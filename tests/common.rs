//! `batch --common`: a fleet keeps the same modules at the same rank, and each adapter of it passes its own test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, documents, fixture, lora_slim, read_json, read_safetensors};

const CASE: &str = "pico/mistral";
/// With which random adapters can shrink.
const LENIENT: [&str; 5] = ["--margin", "60%", "--confidence", "0.5", "--loss-only"];

/// Adapters `in/a0`, `in/a1`, …, each with an alpha of its own.
fn fleet(folder: &Path, count: usize) {
    for number in 0..count {
        let adapter = folder.join(format!("in/a{number}"));
        copy_folder(&fixture(CASE).join("adapter"), &adapter);
        set_alpha(&adapter, 8 + number);
    }
}

fn set_alpha(adapter: &Path, alpha: usize) {
    let path = adapter.join("adapter_config.json");
    let mut config = read_json(&path);
    config["lora_alpha"] = json!(alpha);
    fs::write(path, config.to_string()).unwrap();
}

fn batch(folder: &Path, more: &[&str]) -> Command {
    let mut command = lora_slim();
    command.current_dir(folder).args(["batch", "in", "-o", "out", "--base"]).arg(fixture(CASE).join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--precision", "f32", "--dtype", "f32"]);
    command.args(LENIENT).args(more);
    command
}

/// The shapes of an adapter's tensors, by name.
fn shapes(adapter: &Path) -> BTreeMap<String, Vec<usize>> {
    let tensors = read_safetensors(&adapter.join("adapter_model.safetensors"));
    tensors.into_iter().map(|(name, (shape, _))| (name, shape)).collect()
}

#[test]
fn all_keep_the_same_and_each_passes_its_own_test() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 3);
    let output = batch(folder.path(), &["--minimize", "bytes", "--common"]).assert().success().get_output().clone();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("is as good for all of 3 adapters"), "{said}");
    let kept: Vec<_> = (0..3).map(|number| shapes(&folder.path().join(format!("out/a{number}")))).collect();
    assert!(kept[0] == kept[1] && kept[1] == kept[2] && !kept[0].is_empty());
    for number in 0..3 {
        let report = read_json(&folder.path().join(format!("out/a{number}/slim_report.json")));
        let (minimized, output) = (&report["minimized"], &report["output"]);
        assert!(output["tensors_after"].as_u64() < output["tensors_before"].as_u64(), "{output}");
        assert_eq!((&minimized["objective"], &minimized["adapters"]), (&json!("common"), &json!(3)));
        let chosen: Vec<&Value> =
            minimized["frontier"].as_array().unwrap().iter().filter(|point| point["chosen"] == true).collect();
        assert!(chosen.len() == 1 && chosen[0]["holds"] == true, "{minimized}");
    }
}

/// The choice takes all adapters: when one changes, all are done again, and otherwise none.
#[test]
fn a_fleet_is_done_as_a_whole() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 2);
    let records = |more: &[&str]| -> Vec<Value> {
        let flags = [&["--minimize", "bytes", "--common", "--json"], more].concat();
        let output = batch(folder.path(), &flags).assert().success().get_output().clone();
        let said = String::from_utf8(output.stdout).unwrap();
        documents(&said)
    };
    let unchanged = |records: &[Value]| records.iter().filter(|record| record["unchanged"] == true).count();
    assert_eq!(unchanged(&records(&[])), 0);
    assert_eq!(unchanged(&records(&[])), 2);
    set_alpha(&folder.path().join("in/a1"), 10);
    assert_eq!(unchanged(&records(&[])), 0);
    assert_eq!(unchanged(&records(&[])), 2);
}

/// In a manifest each adapter has samples of its own.
#[test]
fn each_adapter_is_tested_on_its_own_samples() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 2);
    let lines = fs::read_to_string(fixture("pico/samples.tokens.jsonl")).unwrap();
    let fewer: String = lines.split_inclusive('\n').skip(1).collect();
    let samples = folder.path().join("fewer.jsonl");
    fs::write(&samples, fewer).unwrap();
    let jobs = format!("{{\"adapter\": \"in/a0\"}}\n{}\n", json!({"adapter": "in/a1", "samples": samples}));
    fs::write(folder.path().join("jobs.jsonl"), jobs).unwrap();
    let mut command = lora_slim();
    command.current_dir(folder.path()).args(["batch", "--manifest", "jobs.jsonl", "-o", "out", "--base"]);
    command.arg(fixture(CASE).join("base")).arg("--samples").arg(fixture("pico/samples.tokens.jsonl"));
    command.args(LENIENT).args(["--precision", "f32", "--dtype", "f32", "--minimize", "bytes", "--common"]);
    let output = command.assert().success().get_output().clone();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("as good for all of 2 adapters"), "{said}");
    assert_eq!(shapes(&folder.path().join("out/a0")), shapes(&folder.path().join("out/a1")));
    let counts = ["a0", "a1"].map(|name| {
        let report = read_json(&folder.path().join("out").join(name).join("slim_report.json"));
        report["samples"]["count"].as_u64().unwrap()
    });
    assert_ne!(counts[0], counts[1]);
}

#[test]
fn a_broken_adapter_does_not_stop_the_others() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 3);
    fs::write(folder.path().join("in/a1/adapter_model.safetensors"), "nothing").unwrap();
    let output = batch(folder.path(), &["--minimize", "bytes", "--common"]).assert().failure().get_output().clone();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("as good for all of 2 adapters"), "{said}");
    assert_eq!(shapes(&folder.path().join("out/a0")), shapes(&folder.path().join("out/a2")));
    assert!(!folder.path().join("out/a1").exists());
}

#[test]
fn other_goals_are_refused() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 1);
    for (flags, words) in [
        (&["--common"][..], "--minimize"),
        (&["--common", "--minimize", "loss", "--max-bytes", "1MB"], "the fewest bytes"),
        (&["--common", "--minimize", "bytes", "--partition", "hash:1/2"], "cannot be used with"),
    ] {
        let output = batch(folder.path(), flags).assert().failure().get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{flags:?}: {said}");
        assert!(!folder.path().join("out").exists(), "{flags:?}");
    }
}
