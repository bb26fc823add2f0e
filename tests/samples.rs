//! Tokens and masks against TRL's way of tokenising (`scripts/fixtures/pico_text.py`), from tokenizer.json and from GGUF.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use lora_slim::samples::tokenizer::EncodeAs;
use lora_slim::samples::{EncodeOptions, FieldNames, Sample, SampleContent, TextModel, encode, read};
use lora_slim::tensors::TensorStore;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{fixture, read_json};

fn check_all(text: &TextModel) {
    let expected = read_json(&fixture("pico/text/expected_ids.json"));
    for (file, modes) in expected.as_object().unwrap() {
        let path = fixture("pico/text").join(file);
        for (mode, wanted) in modes.as_object().unwrap() {
            let raws = read::read(&path, &FieldNames::default()).unwrap();
            let options = EncodeOptions { chat: mode == "chat", ..EncodeOptions::default() };
            let samples = encode::encode(raws, Some(text), options, &path, Path::new("model")).unwrap();
            assert_eq!(samples.len(), wanted.as_array().unwrap().len(), "{file} {mode}");
            for (sample, wanted) in samples.iter().zip(wanted.as_array().unwrap()) {
                compare(sample, wanted, &format!("{file}, {mode}, line {}", sample.line));
            }
        }
    }
}

fn compare(sample: &Sample, wanted: &Json, context: &str) {
    let numbers = |key: &str| wanted[key].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect::<Vec<_>>();
    let ids: Vec<i64> = sample.ids.iter().map(|&id| i64::from(id)).collect();
    assert_eq!(ids, numbers("input_ids"), "{context}");
    let labels: Vec<i64> =
        ids.iter().zip(&sample.scored).map(|(&id, &scored)| if scored { id } else { -100 }).collect();
    assert_eq!(labels, numbers("labels"), "{context}");
}

#[test]
fn samples_are_tokenised_as_trl_does() {
    check_all(&TextModel::read(&fixture("pico/tokenizer")).unwrap().unwrap());
}

#[test]
fn the_tokenizer_of_a_gguf_file_is_the_same() {
    let path = fixture("pico/llama-gguf/base/base.gguf");
    let (_, metadata) = TensorStore::open_gguf(&path).unwrap();
    check_all(&TextModel::from_gguf(&metadata, &path).unwrap());
}

#[test]
fn tokens_become_the_text_that_they_were_made_of() {
    let path = fixture("pico/llama-gguf/base/base.gguf");
    let (_, metadata) = TensorStore::open_gguf(&path).unwrap();
    let texts = [
        TextModel::read(&fixture("pico/tokenizer")).unwrap().unwrap(),
        TextModel::from_gguf(&metadata, &path).unwrap(),
        sentencepiece(),
    ];
    for text in texts {
        for words in ["hi", " hi  hi", "hié\n👍🏽hi "] {
            let ids = text.tokenizer.encode(words, EncodeAs::WithSpecial).unwrap();
            assert_eq!(text.decode(&ids.ids).unwrap(), words, "{}", text.path.display());
        }
        let end = text.eos_id().unwrap();
        assert!(text.is_special(end) && !text.is_special(40));
        assert_eq!(text.decode(&[end]).unwrap(), "");
    }
}

/// A tokenizer of Llama 2's kind from the metadata of a GGUF file.
fn sentencepiece() -> TextModel {
    let words = ["<unk>", "<s>", "</s>", "▁", "h", "i", "hi", "▁hi"].map(String::from);
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let tokens: Vec<Value> = words.into_iter().chain(bytes).map(Value::String).collect();
    // Unknown, control twice, normal, byte.
    let kinds = [2, 3, 3, 1, 1, 1, 1, 1].into_iter().chain([6; 256]).map(Value::I32).collect();
    let scores = (0..tokens.len()).map(|place| Value::F32(-(place as f32))).collect();
    let metadata = [
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.scores", Value::Array(scores)),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sentencepiece.gguf");
    gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
    let (_, metadata) = TensorStore::open_gguf(&path).unwrap();
    TextModel::from_gguf(&metadata, &path).unwrap()
}

#[test]
fn other_field_names_and_message_lists_are_read() {
    let options =
        FieldNames { prompt_field: Some("q".into()), completion_field: Some("a".into()), ..Default::default() };
    let raws = read::parse(br#"{"q": "x", "a": "y"}"#, Path::new("s.jsonl"), &options).unwrap();
    assert_eq!(raws[0].content, SampleContent::Completion { prompt: "x".into(), completion: "y".into() });

    let turns =
        br#"[{"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}]"#;
    let raws = read::parse(turns, Path::new("s.json"), &FieldNames::default()).unwrap();
    assert!(matches!(&raws[0].content, SampleContent::Chat { messages, scored_from: 1, .. } if messages.len() == 2));
}
