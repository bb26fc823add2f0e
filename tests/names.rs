//! What modules are called in transformers, and which of an adapter's PEFT applies, as both say (`scripts/fixtures/names.py`).

use std::fs;
use std::path::Path;

use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::{Applied, BaseNames, Model, family};
use safetensors::SafeTensors;
use safetensors::tensor::serialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fixture, read_json};

const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes an adapter of the fixtures with other names of its tensors.
fn write_renamed(adapter: &str, rename: impl Fn(&str) -> String, to: &Path) {
    let from = fixture(adapter);
    let bytes = fs::read(from.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.iter().map(|(name, tensor)| (rename(name), tensor));
    fs::write(to.join(WEIGHTS), serialize(renamed, None).unwrap()).unwrap();
    fs::copy(from.join("adapter_config.json"), to.join("adapter_config.json")).unwrap();
}

fn open_base(base: &str) -> Model {
    let path = BasePath::Folder(fixture(base));
    Model::open(&path, &candle_core::Device::Cpu, Arithmetic::F32).unwrap().0
}

/// An adapter of the fixtures under other names, and what a base model makes of it.
fn applied(adapter: &str, base: &str, rename: impl Fn(&str) -> String) -> (Adapter, Applied) {
    let folder = TempDir::new().unwrap();
    write_renamed(adapter, rename, folder.path());
    let adapter = Adapter::open(folder.path(), None).unwrap();
    let applied = open_base(base).applied(&adapter);
    (adapter, applied)
}

fn renamed(name: &str, renaming: &Value) -> String {
    renaming
        .as_array()
        .unwrap()
        .iter()
        .fold(name.to_string(), |name, pair| name.replacen(pair[0].as_str().unwrap(), pair[1].as_str().unwrap(), 1))
}

#[test]
fn classes_have_the_names_of_transformers() {
    let expected = read_json(&fixture("names.json"));
    for (model_type, names) in expected["classes"].as_object().unwrap() {
        let decoder = names["decoder"].as_str().unwrap();
        let (text, multimodal) = match family::by_model_type(model_type) {
            Some(family) if !decoder.contains('.') => (family, None),
            _ => (family::by_model_type("llama").unwrap(), Some(model_type.as_str())),
        };
        let ours = BaseNames::of_folder(multimodal, text, "of an unknown class");
        assert_eq!(ours.class().decoder, decoder, "{model_type}");
        assert_eq!(names["head"], "lm_head", "{model_type}");
        assert_eq!(ours.needs_no_prefix, names["without_prefix"].as_bool().unwrap(), "{model_type}");
        for other in ["", "model", "language_model.model", "model.language_model.model", "model.text_model"] {
            let layer = |decoder: &str| format!("{decoder}.layers.0").trim_start_matches('.').to_string();
            let is_found = *ours.current(&layer(other)) == *layer(decoder);
            let others = names["others"].as_array().unwrap();
            assert_eq!(is_found, other == decoder || others.iter().any(|one| one == other), "{model_type}: {other}");
        }
    }
}

#[test]
fn peft_applies_as_many_modules() {
    let expected = read_json(&fixture("names.json"));
    let mut wrong = Vec::new();
    for case in expected["applied"].as_array().unwrap() {
        let text = |key: &str| case[key].as_str().unwrap();
        let (_, applied) = applied(text("adapter"), text("base"), |name| renamed(name, &case["renaming"]));
        if applied.modules.len() as u64 != case["applied"].as_u64().unwrap() {
            wrong.push(format!("{} {}: {} of {}", text("adapter"), case, applied.modules.len(), applied.count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
