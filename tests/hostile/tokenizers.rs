//! Tokenizers that double texts, panic, or have a matcher try everything. Each is refused or it works; either way it ends, and the
//! program says why in a sentence.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::BAD_INPUT;
use super::text::with_prompts;
use crate::bad_input::Setup;
use crate::support::limits::bounded;
use crate::support::{document, read_json};

const PATIENCE: Duration = Duration::from_secs(120);

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn sequence(key: &str, steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", key: steps})
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Parts of a tokenizer.json that are refused.
fn refused() -> Vec<(&'static str, Value)> {
    let double = || replace(json!({"String": "a"}), "aa");
    let blow_up = || replace(json!({"Regex": "."}), "aaaaaaaaaa");
    let model = |fields: Value| ("model", fields);
    vec![
        ("normalizer", sequence("normalizers", vec![double(); 60])),
        ("normalizer", replace(json!({"Regex": ""}), "b")),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})),
        ("decoder", sequence("decoders", vec![blow_up(); 12])),
        model(json!({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"], "continuing_subword_prefix": "abc"})),
        model(json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a zz"]})),
        model(json!({"type": "Unigram", "unk_id": 5, "vocab": [["a", -1.0]]})),
        model(json!({"type": "WordPiece", "unk_token": "z", "continuing_subword_prefix": "##",
                     "max_input_chars_per_word": u32::MAX, "vocab": {"a": 0}})),
        ("model", Value::Null),
    ]
}

/// Parts that are refused or work.
fn ending() -> Vec<(&'static str, Value)> {
    let repeated = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let both = json!({"type": "TemplateProcessing", "single": repeated, "pair": repeated, "special_tokens": {}});
    let nested = (0..50).fold(json!({"type": "NFC"}), |inner, _| sequence("normalizers", vec![inner]));
    let token = |content: &str| {
        json!({"id": u32::MAX, "content": content, "single_word": false, "lstrip": true, "rstrip": true, "normalized": true,
               "special": true})
    };
    vec![
        ("post_processor", sequence("processors", vec![both; 40])),
        ("model", json!({"type": "BPE", "vocab": {"a": u32::MAX}, "merges": []})),
        ("normalizer", nested),
        ("normalizer", sequence("normalizers", vec![json!({"type": "NFKD"}); 100_000])),
        ("normalizer", replace(json!({"String": ""}), "b")),
        ("normalizer", replace(json!({"Regex": "(a|aa)+$"}), "b")),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("pre_tokenizer", split("")),
        ("pre_tokenizer", sequence("pretokenizers", vec![split("(?=a)"); 1000])),
        ("pre_tokenizer", sequence("pretokenizers", vec![split(r"(a+)+\1b|(?=(a+)+c)"); 200])),
        ("pre_tokenizer", split("(?:(?:(?:a?){100}){100}){100}a{1000}")),
        ("added_tokens", json!([token("")])),
        ("added_tokens", json!([token("a")])),
        (
            "padding",
            json!({"strategy": {"Fixed": 1_000_000_000}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "x"}),
        ),
        ("truncation", json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 1})),
        ("decoder", json!({"type": "Strip", "content": "a", "start": 1_000_000_000, "stop": 1_000_000_000})),
    ]
}

fn with_a_word(word: &str) -> Setup {
    let setup = with_prompts();
    let sample = json!({"prompt": format!("banana {word}"), "completion": "ay"});
    fs::write(setup.path("samples.jsonl"), sample.to_string()).unwrap();
    setup
}

/// Runs `slim` with a part of the tokenizer replaced, and gives its exit code and what it said.
fn run(setup: &Setup, whole: &Value, (name, part): &(&str, Value)) -> (Option<i32>, String) {
    let mut broken = whole.clone();
    broken[*name] = part.clone();
    fs::write(setup.path("base/tokenizer.json"), broken.to_string()).unwrap();
    let _ = fs::remove_dir_all(setup.path("out"));
    let start = Instant::now();
    let output = bounded().current_dir(setup.folder.path()).args(super::SLIM).arg("--truncate").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(start.elapsed() < PATIENCE, "{name} {:.100}: {:?}", part.to_string(), start.elapsed());
    (output.status.code(), text)
}

#[test]
fn parts_of_tokenizers_that_cannot_work_are_refused() {
    let setup = with_a_word("a");
    let whole = read_json(&setup.path("base/tokenizer.json"));
    for part in refused() {
        let (code, text) = run(&setup, &whole, &part);
        let shown = format!("{:.200}: {text}", part.1.to_string());
        assert_eq!(code, Some(BAD_INPUT), "{shown}");
        let is_sentence = text.starts_with("error: cannot use the tokenizer `base/tokenizer.json`: ");
        assert!(is_sentence && !text.contains("panicked") && text.lines().count() == 1, "{shown}");
        assert!(!setup.path("out").exists());
    }
}

#[test]
fn parts_of_tokenizers_come_to_an_end() {
    let setup = with_a_word(&"a".repeat(2000));
    let whole = read_json(&setup.path("base/tokenizer.json"));
    for part in ending() {
        let (code, text) = run(&setup, &whole, &part);
        let shown = format!("{:.200}: {code:?} {text}", part.1.to_string());
        assert!([Some(0), Some(BAD_INPUT)].contains(&code) && !text.contains("panicked"), "{shown}");
    }
}

/// Of texts that are cut, only the beginning becomes tokens.
#[test]
fn long_texts_are_cut_before_they_are_tokenised() {
    let setup = with_prompts();
    fs::write(setup.path("samples.jsonl"), json!({"text": "hello world ".repeat(1_700_000)}).to_string()).unwrap();
    let slim = || bounded().current_dir(setup.folder.path()).args(super::SLIM).arg("--dry-run").output().unwrap();
    let output = slim();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(BAD_INPUT), "{text}");
    assert!(text.contains("samples.jsonl:1: the sample has 19.5 MiB of text") && text.contains("--truncate"), "{text}");
    bounded().current_dir(setup.folder.path()).args(super::SLIM).args(["--dry-run", "--truncate"]).assert().success();
}

/// Equal texts have equal tokens, whatever the tokenizer leaves to chance.
#[test]
fn dropout_is_off_and_said() {
    let setup = with_prompts();
    let sample = json!({"prompt": "hello the world is here and there", "completion": "ay"}).to_string();
    fs::write(setup.path("samples.jsonl"), sample).unwrap();
    let losses = || {
        let output = setup.slim(&["--dry-run", "--json"]).output().unwrap();
        let report = document(&output.stdout);
        (report["curve"].clone(), String::from_utf8_lossy(&output.stderr).contains("BPE dropout of 0.5"))
    };
    let (expected, said) = losses();
    assert!(!said);
    setup.edit_json("base/tokenizer.json", |tokenizer| tokenizer["model"]["dropout"] = json!(0.5));
    for _ in 0..3 {
        assert_eq!(losses(), (expected.clone(), true));
    }
}
