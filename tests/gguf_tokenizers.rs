//! The tokenizers of GGUF files against llama.cpp (`scripts/fixtures/gguf_tokenizers.py`).

use std::fs;

use candle_core::quantized::gguf_file::{self, Value};
use lora_slim::Result;
use lora_slim::samples::TextModel;
use lora_slim::samples::tokenizer::EncodeAs;
use lora_slim::tensors::TensorStore;
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use crate::support::{fixture, lora_slim, read_json};

type Fields = Map<String, Json>;

/// The text side of a GGUF file with these keys of a tokenizer, and of the model of that name.
fn text_model(keys: &Fields, model: &str) -> Result<TextModel> {
    let mut metadata: Vec<(String, Value)> =
        keys.iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), gguf(value))).collect();
    metadata.push(("general.name".into(), Value::String(model.into())));
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("vocab.gguf");
    gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
    let (_, metadata) = TensorStore::open_gguf(&path).unwrap();
    TextModel::from_gguf(&metadata, &path)
}

/// A value as llama.cpp's writers store it.
fn gguf(value: &Json) -> Value {
    match value {
        Json::String(text) => Value::String(text.clone()),
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Array(items) => Value::Array(items.iter().map(item).collect()),
        number => Value::U32(number.as_u64().unwrap() as u32),
    }
}

fn item(value: &Json) -> Value {
    match value {
        Json::String(text) => Value::String(text.clone()),
        number if number.is_f64() => Value::F32(number.as_f64().unwrap() as f32),
        number => Value::I32(number.as_i64().unwrap() as i32),
    }
}

fn check(model: &TextModel, text: &str, ids: &Json, about: &str) {
    let encoded = model.tokenizer.encode(text, EncodeAs::WithSpecial).unwrap();
    assert_eq!(&json!(encoded.ids), ids, "{about}: {text:?}");
}

fn fixture_of_llama_cpp() -> Json {
    read_json(&fixture("gguf-tokenizers.json"))
}

/// The keys of the small byte-level file of the fixture.
fn byte_level() -> Fields {
    let files = fixture_of_llama_cpp()["files"].take();
    let file = files.as_array().unwrap().iter().find(|file| file["about"] == "byte-level").unwrap();
    file["keys"].as_object().unwrap().clone()
}

#[test]
fn every_pre_tokenizer_splits_as_llama_cpp_does() {
    let fixture = fixture_of_llama_cpp();
    let known = &fixture["pre_tokenizers"];
    let mut keys = known["file"].as_object().unwrap().clone();
    let mut names = 0;
    for (group, group_names) in known["names"].as_array().unwrap().iter().enumerate() {
        for name in group_names.as_array().unwrap() {
            keys.remove("pre");
            if name != "" {
                keys.insert("pre".into(), name.clone());
            }
            let model = text_model(&keys, "").unwrap();
            names += 1;
            for text in known["texts"].as_array().unwrap() {
                let outcome = text["of"][group].as_u64().unwrap() as usize;
                check(&model, text["text"].as_str().unwrap(), &text["outcomes"][outcome], &name.to_string());
            }
        }
    }
    assert!(names > 80);
}

#[test]
fn keys_of_the_tokenizer_mean_what_they_mean_to_llama_cpp() {
    let fixture = fixture_of_llama_cpp();
    for file in fixture["files"].as_array().unwrap() {
        let model = text_model(file["keys"].as_object().unwrap(), file["model"].as_str().unwrap()).unwrap();
        assert_eq!(model.remark, None);
        for (text, ids) in file["texts"].as_object().unwrap() {
            check(&model, text, ids, &file["about"].to_string());
        }
    }
}

#[test]
fn a_sentencepiece_file_without_ids_has_the_usual_ones() {
    let fixture = fixture_of_llama_cpp();
    let keys = fixture["files"][0]["keys"].as_object().unwrap();
    assert!(!keys.contains_key("eos_token_id"));
    assert_eq!(text_model(keys, "").unwrap().eos_id(), Some(2));
}

#[test]
fn what_a_file_has_beside_is_harmless_or_named() {
    let with = |key: &str, value: Json| {
        let mut keys = byte_level();
        keys.insert(key.into(), value);
        text_model(&keys, "").unwrap().remark
    };
    for (key, value) in
        [("remove_extra_whitespaces", json!(true)), ("fim_pre_token_id", json!(3)), ("new", json!(false))]
    {
        assert_eq!(with(key, value), None, "{key}");
    }
    let remark = with("suppress_tokens", json!([1])).unwrap();
    assert!(remark.contains("`tokenizer.ggml.suppress_tokens`") && remark.contains("vocab.gguf"), "{remark}");
    assert!(with("precompiled_charsmap", json!([1])).is_some());
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    let refused = |change: &dyn Fn(&mut Fields), words: &str| {
        let mut keys = byte_level();
        change(&mut keys);
        let error = text_model(&keys, "").unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("vocab.gguf"), "{error}");
    };
    let set = |key: &'static str, value: Json| move |keys: &mut Fields| drop(keys.insert(key.into(), value.clone()));
    for model in ["bert", "t5", "rwkv", "plamo2", "gemma4", "whitespace"] {
        refused(&set("model", json!(model)), &format!("model `{model}` is not supported"));
    }
    refused(&|keys| drop(keys.remove("model")), "`tokenizer.ggml.model` is missing");
    refused(&set("pre", json!("sarvam-moe")), "pre-tokenizer `sarvam-moe` is not supported");
    refused(&|keys| drop(keys.remove("tokens")), "`tokenizer.ggml.tokens` is missing");
    refused(&|keys| drop(keys.remove("merges")), "`tokenizer.ggml.merges` is missing");
    refused(&set("merges", json!(["he"])), "the merge `he` is not two tokens");
    // The words of the library, without a place in a text that it was given.
    refused(&set("merges", json!(["zz yy"])), "Token `zz` out of vocabulary");
    let mut keys = byte_level();
    keys.insert("merges".into(), json!(["zz yy"]));
    assert!(!text_model(&keys, "").unwrap_err().to_string().contains(" line "));
    refused(&set("token_type", json!([1])), "`tokenizer.ggml.token_type` has 1 values for 15 tokens");
    refused(&set("tokens", json!(vec!["a"; 15])), "has the token `a` twice");
    refused(&set("add_bos_token", json!("yes")), "`tokenizer.ggml.add_bos_token` is not true or false");
    refused(&set("add_eos_token", json!(true)), "`tokenizer.ggml.eos_token_id` is missing");
    refused(
        &|keys| {
            keys.insert("add_bos_token".into(), json!(true));
            keys.insert("bos_token_id".into(), json!(99));
        },
        "the bos token 99 is not in the vocabulary",
    );
}

/// Runs `scan` on a GGUF base in which one word is replaced by another of the same length.
fn scan(word: &str, other: &str) -> assert_cmd::assert::Assert {
    let case = fixture("pico/llama-gguf");
    let mut bytes = fs::read(case.join("base/base.gguf")).unwrap();
    let place = bytes.windows(word.len()).position(|window| window == word.as_bytes()).unwrap();
    bytes[place..place + word.len()].copy_from_slice(other.as_bytes());
    let folder = TempDir::new().unwrap();
    let (base, samples) = (folder.path().join("base.gguf"), folder.path().join("samples.jsonl"));
    fs::write(&base, bytes).unwrap();
    fs::write(&samples, r#"{"prompt": "x", "completion": "y"}"#).unwrap();
    let mut command = lora_slim();
    command.arg("scan").arg(case.join("adapter")).arg("--base").arg(&base).arg("--samples").arg(&samples).assert()
}

#[test]
fn commands_say_what_they_do_not_use_of_a_tokenizer() {
    let stderr = |assert: assert_cmd::assert::Assert| String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let plain = stderr(scan("smollm", "refact").success());
    assert!(!plain.contains("keys of the tokenizer"), "{plain}");
    let named = stderr(scan("ggml.padding_token_id", "ggml.paddock_token_id").success());
    assert!(named.contains("keys of the tokenizer are not used: `tokenizer.ggml.paddock_token_id`"), "{named}");
    let refused = stderr(scan("smollm", "smolln").code(3));
    assert!(refused.contains("the GGUF pre-tokenizer `smolln` is not supported"), "{refused}");
    assert!(refused.contains("--tokenizer"), "{refused}");
}
