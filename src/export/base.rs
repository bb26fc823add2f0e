//! What formats other than PEFT's take from the base model: its architecture and some sizes, never its weights.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::adapter::Adapter;
use crate::error::{BaseError, Result};
use crate::files;
use crate::hub::BasePath;
use crate::tensors::TensorStore;

/// The architecture and the sizes of a base model, from its configuration.
#[derive(Debug)]
pub struct BaseShape {
    pub path: PathBuf,
    /// The class in transformers (`LlamaForCausalLM`), or `general.architecture` of a GGUF file (`llama`).
    pub architecture: String,
    pub is_gguf: bool,
    pub layers: usize,
    /// 0 where there are none, as without attention, or where layers differ.
    pub heads: usize,
    /// Of keys and values.
    pub key_heads: usize,
    /// The rows of one head of queries or keys.
    pub head_size: usize,
    /// Whether the head is the embedding; configurations leave out the default of their class.
    pub is_tied: Option<bool>,
}

impl BaseShape {
    pub fn read(base: &BasePath) -> Result<Self> {
        match base {
            BasePath::Folder(folder) => Self::from_config(&folder.join("config.json")),
            BasePath::Gguf(path) => Self::from_gguf(path),
        }
    }

    /// Refuses an adapter with layers that the base model does not have.
    pub fn check_layers(&self, adapter: &Adapter) -> Result<()> {
        match adapter.layers().last() {
            Some(&layer) if layer >= self.layers => {
                Err(BaseError::TooFewLayers { base: self.path.clone(), layer, layers: self.layers }.into())
            }
            _ => Ok(()),
        }
    }

    /// Why LoRA on the embedding or the head cannot be written, in words: where both are one tensor, it would change both or none.
    pub fn why_not_outside(&self) -> Option<&'static str> {
        match self.is_tied {
            Some(false) => None,
            Some(true) => Some("where the base model has one tensor for embedding and head"),
            None => {
                Some("where the base model does not say whether embedding and head are one (`tie_word_embeddings`)")
            }
        }
    }

    fn from_config(path: &Path) -> Result<Self> {
        let config: Map<String, Value> = files::read_model_config(path)?;
        // Multimodal models have the decoder's numbers inside.
        let text = config.get("text_config").and_then(Value::as_object).unwrap_or(&config);
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let number = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| text.get(*key).or(config.get(*key))?.as_u64());
            found.map(|number| number as usize)
        };
        let class = |config: &Map<String, Value>| Some(config.get("architectures")?.get(0)?.as_str()?.to_string());
        let heads = number(&["num_attention_heads", "n_head", "n_heads", "num_heads"]).unwrap_or(0);
        let layers = number(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"]);
        let key_heads = number(&["num_key_value_heads", "multi_query_group_num", "n_head_kv", "num_kv_heads"]);
        let hidden = number(&["hidden_size", "n_embd", "n_embed", "d_model"]).unwrap_or(0);
        let flag = |key: &str| text.get(key).or(config.get(key)).and_then(Value::as_bool);
        Ok(Self {
            path: path.into(),
            architecture: class(&config).or(class(text)).ok_or_else(|| missing("architectures"))?,
            is_gguf: false,
            layers: layers.ok_or_else(|| missing("num_hidden_layers"))?,
            heads,
            key_heads: key_heads.unwrap_or(heads),
            head_size: number(&["head_dim"]).unwrap_or(hidden / heads.max(1)),
            is_tied: flag("tie_word_embeddings"),
        })
    }

    fn from_gguf(path: &Path) -> Result<Self> {
        let (tensors, metadata) = TensorStore::open_gguf(path)?;
        let missing = |key: String| BaseError::Config { path: path.into(), key, problem: "is missing" };
        let architecture =
            metadata.string("general.architecture").ok_or_else(|| missing("general.architecture".into()))?;
        let number = |name: &str| {
            let key = format!("{architecture}.{name}");
            metadata.integer(&key).map(|number| number as usize).ok_or_else(|| missing(key))
        };
        // One number, or one for each layer, 0 for those without attention.
        let heads = |name: &str| {
            let key = format!("{architecture}.{name}");
            let by_layer = || {
                let mut numbers = metadata.integers(&key)?;
                numbers.retain(|&number| number != 0);
                numbers.dedup();
                // Where they differ, nothing that depends on the number is written.
                Some(if let [number] = numbers[..] { number as u64 } else { 0 })
            };
            metadata.integer(&key).or_else(by_layer).map(|number| number as usize)
        };
        let query_heads = heads("attention.head_count").unwrap_or(0);
        let hidden = number("embedding_length")?;
        Ok(Self {
            path: path.into(),
            architecture: architecture.into(),
            is_gguf: true,
            layers: number("block_count")?,
            heads: query_heads,
            key_heads: heads("attention.head_count_kv").unwrap_or(query_heads),
            head_size: number("attention.key_length").unwrap_or(hidden / query_heads.max(1)),
            is_tied: Some(tensors.get("output.weight").is_none()),
        })
    }
}
