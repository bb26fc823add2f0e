//! Samples, options and outputs.

use std::fs;

use serde_json::json;

use super::{BAD_INPUT, GATE, Setup, USAGE};
use crate::support::{document, fixture, lora_slim, read_json};

#[test]
fn arithmetic_that_the_processor_does_not_have() {
    let setup = Setup::new();
    let mut command = lora_slim();
    command.current_dir(setup.folder.path()).env("LORA_SLIM_UNIT", "none");
    command.args(["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "-o", "out"]);
    let output = command.args(["--precision", "bf16x2"]).assert().code(USAGE);
    assert!(String::from_utf8_lossy(&output.get_output().stderr).contains("--precision f32"));
}

#[test]
fn malformed_samples_name_their_line() {
    let setup = Setup::new();
    let good = r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#;
    for (text, words) in [
        (String::new(), &["no samples"][..]),
        (format!("{good}\n{{\"input_ids\": [1"), &["samples.jsonl:2"]),
        (format!("{good}\n\n[1]"), &["samples.jsonl:3", "JSON object"]),
        (r#"{"x": 1, "y": 2}"#.into(), &["samples.jsonl:1", "`x`, `y`", "--prompt-field"]),
        (r#"{"prompt": 1, "completion": "x"}"#.into(), &["`prompt` should be a string"]),
        (r#"{"messages": [{"content": "x"}]}"#.into(), &["`role`"]),
        (r#"{"input_ids": [1, 2], "labels": [2]}"#.into(), &["differ in length"]),
        (r#"{"input_ids": [1, 2], "labels": [-100, 9]}"#.into(), &["-100"]),
        (r#"{"input_ids": [1, 2], "labels": [1, -100]}"#.into(), &["samples.jsonl:1", "no answer token"]),
        (r#"{"input_ids": [1, 320]}"#.into(), &["320", "vocabulary of 320"]),
        (r#"{"messages": [{"role": "user", "content": "x"}]}"#.into(), &["no answer token", "role is `assistant`"]),
        (
            r#"{"prompt": "x", "completion": "y", "train": false}"#.into(),
            &["no samples to score: 1 sample ", "left out"],
        ),
        (r#"{"text": "x", "text": "y"}"#.into(), &["samples.jsonl:1: `text` stands more than once in an object"]),
        (r#"[{"messages": [{"role": "user", "role": "assistant"}]}]"#.into(), &["`role` stands more than once"]),
        (r#"{"data": [{"text": "x", "text": "y"}]}"#.into(), &["`text` stands more than once"]),
        ("{\n\"text\": \"x\",\n\"text\": \"y\"}".into(), &["`text` stands more than once"]),
    ] {
        fs::write(setup.path("samples.jsonl"), text).unwrap();
        setup.slim_fails(&[], BAD_INPUT, words);
    }
    fs::write(setup.path("samples.jsonl"), b"{\"text\": \"\xff\"}").unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["not UTF-8"]);
}

#[test]
fn long_samples_are_refused_or_cut() {
    let setup = Setup::new();
    setup.edit_json("base/config.json", |config| config["max_position_embeddings"] = json!(20));
    // Rotary angles go on: transformers computes such samples.
    let kept = setup.slim(&["--dry-run"]).output().unwrap();
    let said = String::from_utf8_lossy(&kept.stderr).into_owned();
    assert!(said.contains("longer than the model's context of 20 tokens") && said.contains("--truncate"), "{said}");
    fs::write(setup.path("samples.jsonl"), json!({"input_ids": vec![5; 40]}).to_string()).unwrap();
    let output = lora_slim()
        .current_dir(setup.folder.path())
        .args(["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--truncate", "--boundary", "2"])
        .assert()
        .success();
    let stdout = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(stdout.contains("1 sample, 1 cut, 20 tokens, 19 of them scored"), "{stdout}");
}

#[test]
fn samples_beyond_learned_positions_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let case = fixture("pico/gpt2");
    let context = read_json(&case.join("base/config.json"))["n_positions"].as_u64().unwrap() as usize;
    fs::write(folder.path().join("s.jsonl"), json!({"input_ids": vec![5; context + 1]}).to_string()).unwrap();
    let mut command = lora_slim();
    command.current_dir(&folder).arg("scan").arg(case.join("adapter")).arg("--base").arg(case.join("base"));
    let output = command.args(["--samples", "s.jsonl"]).assert().code(BAD_INPUT);
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(said.contains(&format!("context of {context}")) && said.contains("--truncate"), "{said}");
}

#[test]
fn prompts_without_the_chat_template_are_pointed_out() {
    let setup = Setup::new();
    fs::write(setup.path("samples.jsonl"), r#"{"prompt": "x", "completion": "y"}"#).unwrap();
    let warned = |more: &[&str]| {
        let output = setup.slim(more).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("add `--chat`")
    };
    assert!(warned(&["--dry-run"]));
    assert!(!warned(&["--dry-run", "--chat"]));
}

#[test]
fn text_needs_a_tokenizer_and_chat_a_template() {
    let setup = Setup::new();
    fs::write(setup.path("samples.jsonl"), r#"{"prompt": "x", "completion": "y"}"#).unwrap();
    fs::remove_file(setup.path("base/tokenizer_config.json")).unwrap();
    setup.slim_fails(&["--chat"], BAD_INPUT, &["no chat template"]);
    fs::remove_file(setup.path("base/tokenizer.json")).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["no tokenizer", "--tokenizer"]);
}

#[test]
fn impossible_wishes() {
    let setup = Setup::new();
    setup.slim_fails(&["--boundary", "0"], USAGE, &["boundary 0", "between 1 and 6"]);
    setup.slim_fails(&["--boundary", "7"], USAGE, &["between 1 and 6"]);
    setup.slim_fails(&["--max-bytes", "10B"], USAGE, &["--max-bytes 10", "smallest adapter"]);
    setup.slim_fails(&["--margin", "2"], USAGE, &["`--margin 2`", "from 0 to below 1", "80%"]);
    setup.slim_fails(&["--margin", "-1%"], USAGE, &["`--margin -1%`"]);
    setup.slim_fails(&["--margin", "little"], USAGE, &["`--margin little`"]);
    setup.slim_fails(&["--confidence", "0.4"], USAGE, &["`--confidence 0.4`", "from 0.5 to below 1"]);
    setup.slim_fails(&["--confidence", "100%"], USAGE, &["`--confidence 100%`"]);
    setup.slim_fails(&["--holdout", "1.5"], USAGE, &["`--holdout 1.5`", "from 0 to below 1"]);
    setup.slim_fails(&["--holdout", "1%"], USAGE, &["`--holdout 0.01` of 12 samples", "--test FILE"]);
    setup.slim_fails(&["--holdout", "99%"], USAGE, &["`--holdout 0.99` of 12 samples"]);
    setup.slim_fails(&["--holdout", "0.3", "--test", "samples.jsonl"], USAGE, &["cannot be used with"]);
    setup.slim_fails(&["--test", "nowhere.jsonl"], BAD_INPUT, &["nowhere.jsonl"]);
    let rule = &["`--one-standard-error`", "`smallest`", "--choose best"];
    setup.slim_fails(&["--one-standard-error"], USAGE, rule);
    setup.slim_fails(&["--one-standard-error", "--boundary", "2"], USAGE, &["`boundary`"]);
    setup.slim_fails(&["--memory", "1kB"], USAGE, &["--memory"]);
    setup.slim_fails(&["--device", "abacus"], USAGE, &["`abacus`", "not the name of a device", "cuda:N"]);
    setup.slim_fails(&["--device", "cuda:one"], USAGE, &["`cuda:one`"]);
    let precision = ["--device", "cuda", "--precision", "bf16x2"];
    setup.slim_fails(&precision, USAGE, &["bf16", "`cuda:0`", "--precision f32"]);
    if !cfg!(feature = "cuda") {
        setup.slim_fails(&["--device", "cuda:1"], USAGE, &["without support", "`cuda:1`", "--features cuda"]);
    }
    if !cfg!(feature = "metal") {
        setup.slim_fails(&["--device", "metal"], USAGE, &["without support", "`metal:0`", "--features metal"]);
    }
}

#[test]
fn an_adapter_that_does_not_help_is_not_written() {
    let setup = Setup::new();
    // The pico adapter is random: whatever it does, the opposite sign does not do as well as both together would.
    let helps = |alpha: f64| {
        setup.edit_json("adapter/adapter_config.json", |config| config["lora_alpha"] = json!(alpha));
        let args = ["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--json", "--boundary", "6"];
        let output = lora_slim().current_dir(setup.folder.path()).args(args).assert().success();
        let report = document(&output.get_output().stdout);
        let losses: Vec<f64> =
            report["curve"].as_array().unwrap().iter().map(|p| p["loss"].as_f64().unwrap()).collect();
        losses.iter().any(|&loss| loss < losses[0])
    };
    // Far too strong, it only does harm.
    let alpha = [8.0, 200.0, -200.0, 4000.0].into_iter().find(|&alpha| !helps(alpha)).expect("some strength harms");
    assert!(!helps(alpha));
    setup.slim_fails(&["--choose", "best", "--loss-only"], GATE, &["does not help", "boundary 0"]);
    // A scan only tells.
    let args = ["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--json", "--choose", "best"];
    let output = lora_slim().current_dir(setup.folder.path()).args(args).arg("--loss-only").assert().success();
    let report = document(&output.get_output().stdout);
    assert_eq!(report["chosen"]["boundary"], 0);
    assert_eq!(report.get("output"), None);
}

#[test]
fn outputs_that_must_not_be_written() {
    let setup = Setup::new();
    for output in ["adapter", "adapter/inside", "base", "base/inside", ".", "samples.jsonl"] {
        let code = lora_slim()
            .current_dir(setup.folder.path())
            .args(["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--force", "--boundary", "2"])
            .args(["-o", output])
            .assert()
            .code(USAGE);
        let stderr = String::from_utf8_lossy(&code.get_output().stderr).into_owned();
        assert!(stderr.contains("overlap"), "{output}: {stderr}");
    }
    let cut = |more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(setup.folder.path()).args(["cut", "adapter", "--boundary", "2"]).args(more);
        command.assert()
    };
    fs::create_dir(setup.path("mine")).unwrap();
    fs::write(setup.path("mine/thesis.txt"), "x").unwrap();
    cut(&["-o", "mine", "--force"]).code(USAGE);
    assert!(setup.path("mine/thesis.txt").exists());
    cut(&["-o", "out"]).success();
    cut(&["-o", "out"]).code(USAGE);
    cut(&["-o", "out", "--force"]).success();
    assert!(setup.path("out/adapter_config.json").exists());
}

#[test]
fn pages_that_must_not_be_written() {
    let setup = Setup::new();
    let run = |command: &str, report: &str, more: &[&str]| {
        let mut program = lora_slim();
        program.current_dir(setup.folder.path());
        program.args([command, "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2"]);
        let output = program.args(["--report", report]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let fails = |command: &str, report: &str, more: &[&str], words: &str| {
        let (code, stderr) = run(command, report, more);
        assert!(code == Some(USAGE) && stderr.contains(words), "{command} {report}: {code:?} {stderr}");
    };
    let out = ["-o", "out"];
    for inside in ["adapter/page.html", "base/page.html", "samples.jsonl", "adapter"] {
        fails("scan", inside, &["--force"], "overlap");
        fails("slim", inside, &["-o", "out", "--force"], "overlap");
    }
    fails("slim", "out/page.html", &out, "the outputs `out/page.html` and `out` overlap");
    fails("slim", "out", &out, "overlap");

    fs::write(setup.path("thesis.html"), "<p>mine").unwrap();
    fs::create_dir(setup.path("folder")).unwrap();
    for mine in ["thesis.html", "folder"] {
        fails("scan", mine, &[], "already exists");
        fails("slim", mine, &out, "`--force`");
        fails("scan", mine, &["--force"], "is not a report of lora-slim");
    }
    assert_eq!(fs::read_to_string(setup.path("thesis.html")).unwrap(), "<p>mine");

    assert_eq!(run("scan", "new/page.html", &[]).0, Some(0));
    fails("scan", "new/page.html", &[], "already exists");
    assert_eq!(run("scan", "new/page.html", &["--force"]).0, Some(0));
    // A place that cannot be written is found out before the run. Nothing can ever lie below a file.
    assert_eq!(run("scan", "thesis.html/page.html", &[]).0, Some(USAGE));
    let names = fs::read_dir(setup.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let strays: Vec<_> =
        names.filter(|name| name.to_string_lossy().starts_with(".lora-slim") || name == "out").collect();
    assert!(strays.is_empty(), "{strays:?}");
}
