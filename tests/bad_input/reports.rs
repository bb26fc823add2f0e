//! What `compare` cannot read.

use std::fs;

use tempfile::TempDir;

use super::{BAD_INPUT, USAGE};
use crate::support::lora_slim;

#[test]
fn what_is_no_report_is_named_with_the_reason() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir(folder.path().join("batch")).unwrap();
    fs::write(folder.path().join("batch/results.jsonl"), "{}\n").unwrap();
    let report = r#"{"schema_version": 1, "adapter": {"path": "a", "layers": [0]}}"#;
    let files = [
        ("good.json", report, ""),
        ("list.json", "[]", "is not a report of `slim`, `scan` or `cut`\n"),
        ("other.json", r#"{"schema_version": 1}"#, "is not a report of `slim`, `scan` or `cut`\n"),
        ("damaged.json", r#"{"schema_version": 1, "adapter": {"path": "a"}}"#, "missing field `layers`"),
        ("adapter_model.safetensors", "\u{48}\0\0\0\0\0\0\0{}", "is not a report of `slim`, `scan` or `cut`\n"),
        ("results.jsonl", "{}\n{}\n", "holds the results of a batch"),
        ("results.2-of-4.jsonl", "{}\n{}\n", "`index.html` and `summary.csv`"),
        ("batch", "", "holds the results of a batch"),
        ("torn.json", "{\"schema_version\": 1, \"adap", "is not valid JSON"),
        ("later.json", &report.replace("\": 1,", "\": 99,"), "its schema_version is 99"),
        ("empty", "", "slim_report.json"),
        ("missing", "", "cannot read `missing`"),
    ];
    for (name, text, _) in files.iter().filter(|(_, text, _)| !text.is_empty()) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let compare = |words: &[&str]| lora_slim().current_dir(folder.path()).arg("compare").args(words).assert();
    compare(&["good.json", "good.json"]).success();
    for (name, _, reason) in &files[1..] {
        let output = compare(&["good.json", name, "--page", "page.html"]).code(BAD_INPUT);
        let told = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(told.starts_with("error: ") && told.contains(name) && told.contains(reason), "{told}");
        assert!(!told.contains("UTF"), "{told}");
        assert!(!folder.path().join("page.html").exists());
    }
    compare(&["good.json"]).code(USAGE);
    // A page does not replace what it is made of.
    let output = compare(&["good.json", "good.json", "--page", "good.json", "--force"]).code(USAGE);
    assert!(String::from_utf8_lossy(&output.get_output().stderr).contains("good.json"));
    assert_eq!(fs::read_to_string(folder.path().join("good.json")).unwrap(), report);
}
