//! The tokens that end a model's answer, as its files name them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::files;
use crate::tensors::GgufMetadata;

/// `eos_token_id` of `generation_config.json`, else of `config.json`, as in transformers: a token or a list of them.
pub fn of_folder(folder: &Path, config: &Map<String, Value>) -> Result<BTreeSet<u32>> {
    let file = folder.join("generation_config.json");
    let generation: Map<String, Value> = if file.is_file() { files::read_json(&file)? } else { Map::new() };
    let text = config.get("text_config").and_then(Value::as_object);
    let configs = [Some(&generation), Some(config), text].into_iter().flatten();
    let named = configs.filter_map(|config| config.get("eos_token_id")).find(|value| !value.is_null());
    Ok(named.map(tokens).unwrap_or_default())
}

fn tokens(value: &Value) -> BTreeSet<u32> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(|id| id.as_u64()?.try_into().ok()).collect()
}

/// The tokens that end a sequence, a turn or a message, as in llama.cpp.
pub fn of_gguf(metadata: &GgufMetadata) -> BTreeSet<u32> {
    let keys = ["eos", "eot", "eom"].map(|role| format!("tokenizer.ggml.{role}_token_id"));
    keys.iter().filter_map(|key| metadata.integer(key)?.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn generation_config_comes_first_and_may_have_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let object = |value: Value| value.as_object().cloned().unwrap();
        let stops = |config: Value| of_folder(folder.path(), &object(config)).unwrap();
        assert_eq!(stops(json!({"eos_token_id": 2})), BTreeSet::from([2]));
        assert_eq!(stops(json!({"text_config": {"eos_token_id": [1, 106]}})), BTreeSet::from([1, 106]));
        assert!(stops(json!({"eos_token_id": null})).is_empty());
        std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [7, 8, -1]}"#).unwrap();
        assert_eq!(stops(json!({"eos_token_id": 2})), BTreeSet::from([7, 8]));
    }
}
