//! `compare`: reports side by side, and first of all what makes their figures incomparable.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, document, fixture, lora_slim, read_json, read_safetensors, write_safetensors};

const CASE: &str = "pico/llama-llama3-rope";

/// Runs `slim` into the folder of this name.
fn slim(folder: &Path, name: &str, samples: &str, more: &[&str]) {
    let mut command = lora_slim();
    command.current_dir(folder).arg("slim").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base")).arg("--samples").arg(fixture(samples));
    command.args(["--quiet", "-o", name]).args(more).assert().success();
}

fn compare(folder: &Path, words: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().current_dir(folder).arg("compare").args(words).assert()
}

fn stdout(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn compared(folder: &Path, words: &[&str]) -> Value {
    document(stdout(compare(folder, &[words, &["--json"]].concat()).success()))
}

#[test]
fn figures_are_those_of_the_reports() {
    let folder = TempDir::new().unwrap();
    slim(folder.path(), "three", "pico/samples.tokens.jsonl", &["--boundary", "3"]);
    slim(folder.path(), "four", "pico/samples.tokens.jsonl", &["--boundary", "4", "--rank", "2"]);
    // A file of JSON is as good as a folder.
    let result = compared(folder.path(), &["three", "four/slim_report.json"]);
    assert_eq!(result["differences"], json!([]));
    for (place, (name, label)) in [("three", "A"), ("four", "B")].into_iter().enumerate() {
        let (one, report) = (&result["reports"][place], read_json(&folder.path().join(name).join("slim_report.json")));
        let curve = report["curve"].as_array().unwrap();
        let written = report["steps"].as_array().map_or(&report["chosen"], |steps| &steps[steps.len() - 1]["losses"]);
        assert_eq!(one["label"], label);
        for field in ["loss", "gain_kept", "difference", "token_probability"] {
            assert_eq!(one[field], written[field], "{name} {field}");
        }
        assert_eq!(one["loss_whole"], curve[curve.len() - 1]["loss"]);
        for field in ["kept_layers", "bytes_before", "bytes_after"] {
            assert_eq!(one[field], report["output"][field], "{name} {field}");
        }
        assert_eq!(one["warnings"], report["warnings"]);
    }
    assert_eq!(result["reports"][0]["dropped"], json!(["layers 3-5"]));
    assert_eq!(result["reports"][1]["dropped"], json!(["layers 4-5", "rank 2"]));
    let text = stdout(compare(folder.path(), &["three", "four"]).success());
    let loss = result["reports"][1]["loss"].as_f64().unwrap();
    assert!(text.contains(&format!("{loss:.4}")) && !text.contains("NOT COMPARABLE"), "{text}");
    assert!(text.lines().take(4).all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn what_makes_figures_incomparable_comes_first() {
    let folder = TempDir::new().unwrap();
    slim(folder.path(), "one", "pico/samples.tokens.jsonl", &["--boundary", "3"]);
    slim(folder.path(), "two", "pico/text/prompt_completion.jsonl", &["--boundary", "3", "--margin", "5%"]);
    let text = stdout(compare(folder.path(), &["one", "two", "--page", "page.html"]).success());
    assert!(text.starts_with("NOT COMPARABLE: losses, probabilities, because of other samples\n  A  "), "{text}");
    assert!(text.contains("not the same rule\n"), "{text}");
    let differences = &compared(folder.path(), &["one", "two"])["differences"];
    assert_eq!(differences[0]["what"], "samples");
    assert_eq!(differences[0]["incomparable"], json!(["losses", "probabilities"]));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let headline = "<h1 class=\"bad\">2 reports compared, but not their losses, probabilities</h1>";
    assert!(page.contains(headline), "{page}");
    for reference in ["http://", "https://", " src=", " href=", "url(", "@import", "<link", "<iframe", "fetch("] {
        assert!(!page.contains(reference), "{reference}");
    }
    // It is replaced only on demand.
    compare(folder.path(), &["one", "two", "--page", "page.html"]).code(2);
    compare(folder.path(), &["one", "two", "--page", "page.html", "--force"]).success();
}

/// A base model whose weights are those of the fixture, changed: a file of the same size.
fn other_base(folder: &Path, name: &str, change: impl Fn(&mut f32)) -> String {
    copy_folder(&fixture(CASE).join("base"), &folder.join(name));
    let path = folder.join(name).join("model.safetensors");
    let mut tensors = read_safetensors(&path);
    tensors.get_mut("model.norm.weight").unwrap().1.iter_mut().for_each(change);
    write_safetensors(&path, &tensors);
    name.into()
}

#[test]
fn another_base_model_of_the_same_size_is_told_by_its_losses() {
    let folder = TempDir::new().unwrap();
    let bases = [
        other_base(folder.path(), "base1", |_| {}),
        other_base(folder.path(), "base2", |weight| *weight *= 1.5),
        other_base(folder.path(), "base3", |_| {}),
    ];
    for base in &bases {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("slim").arg(fixture(CASE).join("adapter"));
        command.args(["--base", base, "--boundary", "3", "--quiet", "-o", &format!("on-{base}"), "--samples"]);
        command.arg(fixture("pico/samples.tokens.jsonl")).assert().success();
    }
    let result = compared(folder.path(), &["on-base1", "on-base2"]);
    assert_eq!(result["differences"][0]["what"], "base model, or other arithmetic");
    assert_eq!(result["differences"][0]["incomparable"], json!(["losses", "probabilities", "scores"]));
    let text = stdout(compare(folder.path(), &["on-base3", "on-base1", "on-base2"]).success());
    let head =
        "NOT COMPARABLE: losses, probabilities, scores, because of another base model, or other arithmetic\n  A  loss ";
    assert!(text.starts_with(head), "{text}");
    // Where a base model lies makes no difference.
    assert_eq!(compared(folder.path(), &["on-base1", "on-base3"])["differences"], json!([]));
    // Nor what rounding leaves.
    let mut report = read_json(&folder.path().join("on-base1/slim_report.json"));
    let loss = report["curve"][0]["loss"].as_f64().unwrap();
    for (factor, count) in [(1.0 + 1e-8, 0), (1.0 + 1e-5, 1)] {
        report["curve"][0]["loss"] = json!(loss * factor);
        fs::write(folder.path().join("near.json"), report.to_string()).unwrap();
        let differences = &compared(folder.path(), &["on-base1", "near.json"])["differences"];
        assert_eq!(differences.as_array().unwrap().len(), count, "{differences}");
    }
}

#[test]
fn scores_of_answers_that_end_elsewhere_are_not_compared() {
    let folder = TempDir::new().unwrap();
    slim(folder.path(), "one", "pico/samples.tokens.jsonl", &["--boundary", "3"]);
    let mut report = read_json(&folder.path().join("one/slim_report.json"));
    let write = |name: &str, report: &Value| fs::write(folder.path().join(name), report.to_string()).unwrap();
    for field in ["metrics", "choosing_metrics"] {
        report[field] = json!({"on": "choosing", "samples": 2, "max_new_tokens": 8, "boundaries": []});
        write("a.json", &report);
        report[field]["stop"] = json!(["\n"]);
        write("b.json", &report);
        report[field]["stop"] = Value::Null;
        report[field].as_object_mut().unwrap().remove("stop");
        report[field]["max_new_tokens"] = json!(9);
        write("c.json", &report);
        for other in ["b.json", "c.json"] {
            let differences = &compared(folder.path(), &["a.json", other])["differences"];
            assert_eq!(differences[0]["what"], "generated answers", "{field} {other}");
            assert_eq!(differences[0]["incomparable"], json!(["scores"]));
        }
        report.as_object_mut().unwrap().remove(field);
    }
}

#[test]
fn texts_of_reports_come_out_as_text() {
    let folder = TempDir::new().unwrap();
    let hostile = "<img src=x onerror=alert(1)>\u{1b}[31m\u{202e}";
    slim(folder.path(), "one", "pico/samples.tokens.jsonl", &["--boundary", "3"]);
    let mut report = read_json(&folder.path().join("one/slim_report.json"));
    for (part, field) in [("adapter", "path"), ("samples", "path"), ("base", "path"), ("samples", "sha256")] {
        report[part][field] = json!(hostile);
    }
    report["warnings"] = json!([{"code": hostile, "sentence": hostile}]);
    fs::write(folder.path().join("two.json"), report.to_string()).unwrap();
    let text = stdout(compare(folder.path(), &["one", "two.json", "--page", "page.html"]).success());
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("[U+001B][31m"), "{text:?}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(!page.contains("<img") && !page.contains('\u{202e}') && page.contains("&lt;img src=x"), "{page}");
}

/// Earlier versions recorded the SHA-256 of adapters, which says nothing about a BLAKE3 hash.
#[test]
fn reports_with_other_hashes_may_be_of_one_adapter() {
    let folder = TempDir::new().unwrap();
    slim(folder.path(), "now", "pico/samples.tokens.jsonl", &["--boundary", "3"]);
    let now = read_json(&folder.path().join("now/slim_report.json"));
    let earlier = |name: &str, hash: &str, bytes: u64| {
        let mut report = now.clone();
        report["schema_version"] = json!(1);
        for file in report["adapter"]["files"].as_array_mut().unwrap() {
            let (name, bytes) = (&file["name"], file["bytes"].as_u64().unwrap() + bytes);
            *file = json!({"name": name, "bytes": bytes, "sha256": hash.repeat(64)});
        }
        fs::write(folder.path().join(name), report.to_string()).unwrap();
    };
    earlier("same.json", "a", 0);
    earlier("other.json", "b", 0);
    earlier("longer.json", "a", 1);
    let unknown = "adapter, or hash of it";
    for (reports, expected) in [
        (&["now", "same.json"][..], Some(unknown)),
        (&["same.json", "same.json"], None),
        (&["same.json", "other.json"], Some("adapter")),
        (&["now", "longer.json"], Some("adapter")),
        (&["same.json", "now", "now"], Some(unknown)),
        (&["same.json", "now", "other.json"], Some("adapter")),
    ] {
        let differences = &compared(folder.path(), reports)["differences"];
        let found = differences.as_array().unwrap().iter().map(|difference| difference["what"].as_str().unwrap());
        assert_eq!(found.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>(), "{reports:?}");
    }
    let differences = &compared(folder.path(), &["same.json", "now"])["differences"];
    let path = now["adapter"]["path"].as_str().unwrap();
    let values = json!([format!("{path}, with SHA-256 hashes"), format!("{path}, with BLAKE3 hashes")]);
    assert_eq!((&differences[0]["values"], &differences[0]["incomparable"]), (&values, &json!([])));
    let text = stdout(compare(folder.path(), &["same.json", "now"]).success());
    assert!(text.contains("not the same adapter, or hash of it\n"), "{text}");
}

#[test]
fn reports_without_samples_are_compared_too() {
    let folder = TempDir::new().unwrap();
    for boundary in ["2", "4"] {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("cut").arg(fixture(CASE).join("adapter"));
        command.args(["--quiet", "--boundary", boundary, "-o", boundary]).assert().success();
    }
    let result = compared(folder.path(), &["2", "4"]);
    assert_eq!((&result["differences"], &result["reports"][0]["loss"]), (&json!([]), &Value::Null));
    assert_eq!(result["reports"][1]["kept_layers"], json!([0, 1, 2, 3]));
    compare(folder.path(), &["2", "4", "--page", "page.html"]).success();
}
