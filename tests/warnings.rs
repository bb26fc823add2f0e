//! Warnings are data: the same codes in the JSON, at the end of what the terminal shows, on the page, and in a batch.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, fixture, lora_slim, read_json};

const CASE: &str = "pico/llama-llama3-rope";

/// What a run says, in all places.
struct Said {
    report: Value,
    terminal: String,
    page: String,
}

impl Said {
    fn codes(&self) -> Vec<&str> {
        let warnings = self.report["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
    }

    fn warning(&self, code: &str) -> &Value {
        let warnings = self.report["warnings"].as_array().unwrap_or_else(|| panic!("no warnings: {}", self.terminal));
        let found = warnings.iter().find(|warning| warning["code"] == code);
        found.unwrap_or_else(|| panic!("no `{code}` among {:?}", self.codes()))
    }
}

/// Runs `scan` on an adapter of the fixtures, with a page.
fn scan(samples: &Path, more: &[&str]) -> Said {
    let folder = TempDir::new().unwrap();
    let mut command = lora_slim();
    command.current_dir(folder.path()).arg("scan").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base")).arg("--samples").arg(samples);
    let assert = command.args(["--json", "--report", "page.html"]).args(more).assert().success();
    let output = assert.get_output();
    Said {
        report: serde_json::from_slice(&output.stdout).unwrap(),
        terminal: String::from_utf8_lossy(&output.stderr).into_owned(),
        page: fs::read_to_string(folder.path().join("page.html")).unwrap(),
    }
}

#[test]
fn a_warning_is_in_every_place() {
    let said = scan(&fixture("pico/text/prompt_completion.jsonl"), &[]);
    let warnings = said.report["warnings"].as_array().unwrap();
    assert!(said.codes().contains(&"few-samples"), "{:?}", said.codes());
    assert_eq!(said.warning("few-samples")["figures"]["samples"].as_f64(), said.report["samples"]["count"].as_f64());
    // The last lines of the terminal are the warnings, in the same order; the page has them before the figures.
    let lines: Vec<&str> = said.terminal.lines().collect();
    let summary = said.page.split("<dl class=\"figures\">").next().unwrap();
    for (line, warning) in lines[lines.len() - warnings.len()..].iter().zip(warnings) {
        let code = warning["code"].as_str().unwrap();
        assert!(
            line.ends_with(&format!(" [{code}]")) && line.contains(warning["sentence"].as_str().unwrap()),
            "{line}"
        );
        assert!(summary.contains(&format!("<code>{code}</code>")), "{code}");
    }
    assert!(lines[0].starts_with("report in"), "{lines:?}");
}

#[test]
fn what_is_left_out_of_the_input_is_a_warning_of_cut_too() {
    let folder = TempDir::new().unwrap();
    let adapter = folder.path().join("adapter");
    copy_folder(&fixture(CASE).join("adapter"), &adapter);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["use_mora"] = json!(true);
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut command = lora_slim();
    command.current_dir(folder.path()).args(["cut", "adapter", "--boundary", "3", "-o", "out"]);
    let assert = command.assert().success();
    let report = read_json(&folder.path().join("out/slim_report.json"));
    assert_eq!(report["warnings"][0]["code"], "unused-input");
    assert_eq!(report["warnings"][0]["sentence"], report["remarks"][0]);
    let terminal = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(terminal.trim_end().ends_with("[unused-input]"), "{terminal}");
}

#[test]
fn a_batch_has_the_codes_in_its_tables() {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(CASE).join("adapter"), &folder.path().join("in/a"));
    let mut command = lora_slim();
    command.current_dir(folder.path()).args(["batch", "in", "-o", "out", "--quiet"]);
    command
        .arg("--base")
        .arg(fixture(CASE).join("base"))
        .arg("--samples")
        .arg(fixture("pico/text/prompt_completion.jsonl"));
    drop(command.assert());
    let line = fs::read_to_string(folder.path().join("out/results.jsonl")).unwrap();
    let record: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let codes: Vec<&str> =
        record["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"few-samples"), "{codes:?}");
    let table = fs::read_to_string(folder.path().join("out/summary.csv")).unwrap();
    assert!(table.contains(&codes.join(" ")), "{table}");
    let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("<code>few-samples</code>"), "{page}");
}
