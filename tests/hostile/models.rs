//! Base models.

use std::fs;

use serde_json::json;

use super::{deep, refused, slim_refused, vast};
use crate::bad_input::Setup;
use crate::support::{copy_folder, fixture};

const GGUF: [&str; 9] =
    ["slim", "adapter", "--base", "base.gguf", "--samples", "samples.jsonl", "--boundary", "2", "-oout"];

/// The beginning of a GGUF file: version 3, and how many tensors and keys it says it has.
fn gguf(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &keys.to_le_bytes(), rest].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&(name.len() as u64).to_le_bytes(), name.as_bytes(), &kind.to_le_bytes(), value].concat()
}

fn array(kind: u32, length: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat()
}

#[test]
fn headers_of_gguf() {
    let setup = Setup::new();
    let nested = |depth: usize| gguf(0, 1, &key("a", 9, &array(9, 1).repeat(depth)));
    let tensor = |dimensions: u32, rest: &[u8]| gguf(1, 0, &key("t", dimensions, rest));
    let huge = [u64::MAX.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
    let cases = [
        gguf(0, 1_000_000_000, &[0; 64]),
        gguf(1 << 60, 0, &[0; 64]),
        gguf(u64::MAX, u64::MAX, &[]),
        gguf(0, 1, &u64::MAX.to_le_bytes()),
        gguf(0, 1, &key("a", 8, &(1u64 << 60).to_le_bytes())),
        gguf(0, 1, &key("a", 9, &array(0, 1 << 60))),
        gguf(0, 1, &key("a", 9, &array(8, 1 << 29))),
        gguf(0, 1, &[key("a", 9, &array(0, 100_000_000)), vec![0; 100_000_000]].concat()),
        gguf(0, 1, &key("a", 77, &[])),
        gguf(0, 1, &key("general.alignment", 4, &0u32.to_le_bytes())),
        gguf(0, 1, &key("general.alignment", 10, &u64::MAX.to_le_bytes())),
        nested(10),
        nested(1_000_000),
        tensor(u32::MAX, &[]),
        tensor(2, &[&huge[..], &[0; 12]].concat()),
        tensor(1, &[&8u64.to_le_bytes()[..], &0u32.to_le_bytes(), &u64::MAX.to_le_bytes()].concat()),
        tensor(1, &[&8u64.to_le_bytes()[..], &99u32.to_le_bytes(), &[0; 8]].concat()),
    ];
    for bytes in cases {
        fs::write(setup.path("base.gguf"), bytes).unwrap();
        refused(&setup, &GGUF, "base.gguf");
    }
}

/// Numbers in a configuration that would have tables made of them.
#[test]
fn configurations() {
    let cases = [
        ("vocab_size", json!(1u64 << 50)),
        ("hidden_size", json!(1u64 << 50)),
        ("intermediate_size", json!(1u64 << 50)),
        ("num_hidden_layers", json!(1u64 << 50)),
        ("num_attention_heads", json!(1u64 << 50)),
        ("num_key_value_heads", json!(1u64 << 50)),
        ("num_key_value_heads", json!(0)),
        ("head_dim", json!(1u64 << 62)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("max_position_embeddings", json!(1u64 << 50)),
        ("model_type", json!("x".repeat(10_000_000))),
    ];
    for (name, value) in cases {
        let setup = Setup::new();
        setup.edit_json("base/config.json", |config| config[name] = value);
        slim_refused(&setup, "base");
    }
    let setup = Setup::new();
    for text in [deep("[", "]"), deep(r#"{"a":"#, "}")] {
        fs::write(setup.path("base/config.json"), text).unwrap();
        slim_refused(&setup, "base/config.json");
    }
    vast(&setup.path("base/config.json"), b"{}");
    slim_refused(&setup, "base/config.json");
}

/// Numbers in the metadata of a GGUF file.
#[test]
fn numbers_in_gguf() {
    let setup = Setup::new();
    copy_folder(&fixture("pico/llama-gguf/base"), &setup.path("gguf"));
    let whole = fs::read(setup.path("gguf/base.gguf")).unwrap();
    for name in ["block_count", "embedding_length", "attention.head_count", "feed_forward_length"] {
        let mut bytes = whole.clone();
        let mark = [b"llama.", name.as_bytes(), &4u32.to_le_bytes()].concat();
        let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
        for number in [0, u32::MAX] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            fs::write(setup.path("base.gguf"), &bytes).unwrap();
            refused(&setup, &GGUF, "base.gguf");
        }
    }
}
