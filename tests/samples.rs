//! Tokens and masks against TRL's way of tokenising (`scripts/pico_text.py`), from tokenizer.json and from GGUF.

use std::path::Path;

use lora_slim::samples::{ReadOptions, Sample, TextModel, encode, read};
use lora_slim::tensors::TensorStore;
use serde_json::Value;

use crate::support::{fixture, read_json};

fn check_all(text: &TextModel) {
    let expected = read_json(&fixture("pico/text/expected_ids.json"));
    for (file, modes) in expected.as_object().unwrap() {
        let path = fixture("pico/text").join(file);
        for (mode, wanted) in modes.as_object().unwrap() {
            let raws = read::read(&path, &ReadOptions::default()).unwrap();
            let samples = encode::encode(raws, Some(text), mode == "chat", &path, Path::new("model")).unwrap();
            assert_eq!(samples.len(), wanted.as_array().unwrap().len(), "{file} {mode}");
            for (sample, wanted) in samples.iter().zip(wanted.as_array().unwrap()) {
                compare(sample, wanted, &format!("{file}, {mode}, line {}", sample.line));
            }
        }
    }
}

fn compare(sample: &Sample, wanted: &Value, context: &str) {
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
fn other_field_names_and_message_lists_are_read() {
    let options = ReadOptions { prompt_field: Some("q".into()), completion_field: Some("a".into()) };
    let raws = read::parse(br#"{"q": "x", "a": "y"}"#, Path::new("s.jsonl"), &options).unwrap();
    assert_eq!(raws[0].content, read::Content::Completion { prompt: "x".into(), completion: "y".into() });

    let turns =
        br#"[{"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}]"#;
    let raws = read::parse(turns, Path::new("s.json"), &ReadOptions::default()).unwrap();
    assert!(matches!(&raws[0].content, read::Content::Chat { messages, scored_from: 1 } if messages.len() == 2));
}
