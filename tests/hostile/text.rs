//! Samples, tokenizers, chat templates, manifests, config files and results.

use std::fs;

use serde_json::json;

use super::{SLIM, deep, refused, slim_refused, vast};
use crate::bad_input::Setup;
use crate::support::limits::bounded;
use crate::support::read_json;

pub const CHAT: [&str; 10] =
    ["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "-oout", "--chat"];

pub fn with_prompts() -> Setup {
    let setup = Setup::new();
    let sample = json!({"prompt": "x", "completion": "y"}).to_string();
    fs::write(setup.path("samples.jsonl"), [sample.as_str(); 4].join("\n")).unwrap();
    setup
}

#[test]
fn samples() {
    let setup = Setup::new();
    let samples = setup.path("samples.jsonl");
    let long = json!({"input_ids": [1, 2], "labels": [1, 2], "note": "x".repeat(50_000_000)}).to_string();
    for text in [
        deep("[", "]"),
        deep(r#"{"a":"#, "}"),
        format!("{long}\n{{"),
        format!(r#"{{"{}": 1}}"#, "x".repeat(20_000_000)),
        format!(r#"{{"input_ids": [{}], "labels": []}}"#, "9".repeat(5_000_000)),
        format!("[{}1]", "1,".repeat(5_000_000)),
        json!({"input_ids": vec![5; 2_000_000]}).to_string(),
    ] {
        fs::write(&samples, text).unwrap();
        slim_refused(&setup, "samples.jsonl");
    }
    vast(&samples, b"{}");
    slim_refused(&setup, "samples.jsonl");
    let args = SLIM.map(|arg| if arg == "samples.jsonl" { "/dev/zero" } else { arg });
    refused(&setup, &args, "/dev/zero");
    // One line may be as long as it likes, as long as it is a sample.
    fs::write(&samples, [long.as_str(); 2].join("\n")).unwrap();
    bounded().current_dir(setup.folder.path()).args(SLIM).assert().success();
}

#[test]
fn chat_templates_come_to_an_end() {
    let setup = with_prompts();
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}x{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 'a' * 1000000000000 }}",
        "{{ ('a' * 1000)|list * 100000000 }}",
        "{% set x = namespace(s='a') %}{% for i in range(60) %}{% set x.s = x.s ~ x.s %}{% endfor %}{{ x.s }}",
        "{{ 'x'|indent(1000000000) }}",
        "{{ '%01000000000d'|format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('a,' * 1000000).split(',')|join('b' * 1000000) }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ raise_exception('x' * 100000000) }}",
        "{{ messages[0].content.nothing() }}",
        "{% for a in messages %}",
    ] {
        fs::write(setup.path("base/chat_template.jinja"), template).unwrap();
        refused(&setup, &CHAT, "chat template");
    }
    for template in [deep("(", ")"), deep("{% if a %}", "{% endif %}")] {
        fs::write(setup.path("base/chat_template.jinja"), format!("{{{{ {template} }}}}")).unwrap();
        refused(&setup, &CHAT, "chat template");
    }
    vast(&setup.path("base/chat_template.jinja"), b"{{ 1 }}");
    refused(&setup, &CHAT, "chat_template.jinja");
}

#[test]
fn tokenizers() {
    let setup = with_prompts();
    let tokenizer = setup.path("base/tokenizer.json");
    let whole = fs::read_to_string(&tokenizer).unwrap();
    let broken = [deep("[", "]"), deep(r#"{"a":"#, "}"), whole[..whole.len() / 2].into(), "{}".into(), "null".into()];
    for text in broken {
        fs::write(&tokenizer, text).unwrap();
        slim_refused(&setup, "base/tokenizer.json");
    }
    vast(&tokenizer, whole.as_bytes());
    slim_refused(&setup, "base/tokenizer.json");
}

/// Patterns that are large, or that have a matcher try everything. They split the text or they are refused; either way it ends.
#[test]
fn patterns_of_tokenizers_come_to_an_end() {
    let setup = with_prompts();
    let prompt = "a".repeat(5000);
    fs::write(setup.path("samples.jsonl"), json!({"prompt": prompt, "completion": "ay"}).to_string()).unwrap();
    let tokenizer = setup.path("base/tokenizer.json");
    let whole = read_json(&tokenizer);
    for pattern in [
        "(a+)+$b",
        "(?=(a+)+b)c",
        r"(a*)*\1b",
        "(?:(?:a{1000}){1000}){1000}",
        r"(?:\w{1000}){1000}",
        r"(?:(?=a)a){4294967295}",
        r"(a)\1{4294967295}",
        &"(".repeat(1_000_000),
        &("(?:".repeat(100_000) + &")".repeat(100_000)),
        "[",
    ] {
        let mut broken = whole.clone();
        broken["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        fs::write(&tokenizer, broken.to_string()).unwrap();
        let _ = fs::remove_dir_all(setup.path("out"));
        let assert = bounded().current_dir(setup.folder.path()).args(SLIM).arg("--truncate").assert();
        let output = assert.get_output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = &pattern[..pattern.len().min(40)];
        assert!([Some(0), Some(3)].contains(&output.status.code()) && !text.contains("panicked"), "{shown}: {text}");
    }
    // The same in the configuration of an adapter.
    fs::write(&tokenizer, whole.to_string()).unwrap();
    for pattern in ["(?=(a+)+b)c", "(?:(?:a{1000}){1000}){1000}", r"(?:(?=a)a){4294967295}", "["] {
        setup.edit_json("adapter/adapter_config.json", |config| config["target_modules"] = json!(pattern));
        let _ = fs::remove_dir_all(setup.path("out"));
        for args in [&["cut", "adapter", "--boundary", "2", "-o", "out"][..], &["check", "adapter"]] {
            let output = bounded().current_dir(setup.folder.path()).args(args).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.code().is_some_and(|code| code <= 5) && !text.contains("panicked"),
                "{pattern}: {text}"
            );
        }
    }
}

/// Whatever text file the user names is read within bounds.
#[test]
fn manifests_configs_and_results() {
    let setup = Setup::new();
    let batch = ["batch", "adapter", "--boundary", "2", "-o", "batch"];
    fs::create_dir(setup.path("batch")).unwrap();
    vast(&setup.path("large"), b"\n");
    for path in ["/dev/zero", "large"] {
        refused(&setup, &["batch", "--manifest", path, "-o", "batch"], path);
        refused(&setup, &["inspect", "adapter", "--config", path], path);
        refused(&setup, &["cut", "adapter", "--boundary", "2", "-o", "out", "--config", path], path);
        std::os::unix::fs::symlink(path.replace("large", "../large"), setup.path("batch/results.jsonl")).unwrap();
        refused(&setup, &batch, "results.jsonl");
        fs::remove_file(setup.path("batch/results.jsonl")).unwrap();
    }
    fs::write(setup.path("jobs.jsonl"), b"{\"adapter\": \"\xff\"}").unwrap();
    refused(&setup, &["batch", "--manifest", "jobs.jsonl", "-o", "batch"], "jobs.jsonl");
    // Samples that have no end are not hashed without one, either.
    let samples = ["batch", "adapter", "--base", "base", "--samples", "/dev/zero", "-o", "batch"];
    let output = bounded().current_dir(setup.folder.path()).args(samples).assert().code(super::BAD_INPUT);
    let output = output.get_output();
    assert!(String::from_utf8_lossy(&output.stdout).contains("`/dev/zero` is larger than"), "{output:?}");
}
