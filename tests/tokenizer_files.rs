//! The special and added tokens of a tokenizer's files, against AutoTokenizer (`scripts/fixtures/tokenizer_files.py`).

use std::fs;

use lora_slim::samples::TextModel;
use lora_slim::samples::tokenizer::EncodeAs;
use serde_json::Value;
use tempfile::TempDir;

use crate::bad_input::Setup;
use crate::support::{fixture, read_json};

/// The tokenizer of fixtures/trl/bytes with other parts, and with other files beside it.
fn text_model(files: &Value, parts: &Value) -> TextModel {
    let folder = TempDir::new().unwrap();
    let mut tokenizer = read_json(&fixture("trl/bytes/tokenizer.json"));
    for (name, part) in parts.as_object().into_iter().flatten() {
        tokenizer[name] = part.clone();
    }
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, content) in files.as_object().unwrap() {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    TextModel::read(folder.path()).unwrap().unwrap()
}

#[test]
fn tokens_are_those_of_autotokenizer() {
    let expected = read_json(&fixture("tokenizer_files.json"));
    let cases = expected["cases"].as_array().unwrap();
    for case in cases {
        let (name, text) = (&case["name"], text_model(&case["files"], &case["parts"]));
        assert_eq!(text.eos_token.as_deref(), case["eos_token"].as_str(), "{name}");
        assert_eq!(text.remark.is_none(), case["splits_as_file"].as_bool().unwrap(), "{name}: {:?}", text.remark);
        if text.remark.is_some() {
            continue;
        }
        for (written, ids) in expected["texts"].as_array().unwrap().iter().zip(case["ids"].as_array().unwrap()) {
            let encoding = text.tokenizer.encode(written.as_str().unwrap(), EncodeAs::WithSpecial).unwrap();
            assert_eq!(&Value::from(encoding.ids), ids, "{name}: {written}");
        }
    }
    assert!(cases.len() > 40);
}

#[test]
fn text_without_an_end_token_is_pointed_out() {
    let setup = Setup::new();
    let said = |record: &str, more: &[&str]| {
        fs::write(setup.path("samples.jsonl"), record).unwrap();
        let output = setup.slim(&["--dry-run"]).args(more).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("get no token at their end")
    };
    let pair = r#"{"prompt": "x", "completion": "y"}"#;
    assert!(!said(pair, &[]));
    setup.edit_json("base/tokenizer_config.json", |config| config["eos_token"] = Value::Null);
    assert!(said(pair, &[]));
    assert!(said(r#"{"text": "x y z"}"#, &["--chat"]));
    assert!(!said(r#"{"input_ids": [5, 6]}"#, &[]));
}

#[test]
fn a_class_that_splits_text_in_another_way_is_pointed_out() {
    let files = serde_json::json!({"tokenizer_config.json": {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": true}});
    let remark = text_model(&files, &Value::Null).remark.unwrap();
    assert!(remark.contains("`GPT2Tokenizer`"), "{remark}");
}
