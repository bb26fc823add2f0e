//! What the configuration of a base model tells, even of a family that this program cannot run.

use serde_json::Value;

use crate::adapter::Adapter;
use crate::adapter::names::MOST_LAYERS;
use crate::error::Result;
use crate::files;
use crate::hub::BasePath;

/// What is known of a base model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// Decoder layers.
    pub layers: Option<usize>,
    /// `model_type`
    pub family: Option<String>,
    /// Tokens of its embedding and its head.
    pub vocabulary: Option<usize>,
}

impl BaseFacts {
    pub fn of(base: &BasePath) -> Result<Self> {
        let BasePath::Folder(folder) = base else { return Ok(Self::default()) };
        let config: Value = files::read_json(&folder.join("config.json"))?;
        let text = config.get("text_config").unwrap_or(&config);
        let layers = ["num_hidden_layers", "n_layer", "num_layers"].iter().find_map(|key| text.get(*key)?.as_u64());
        let family = config.get("model_type").and_then(Value::as_str).map(String::from);
        let layers = layers.map(|layers| layers as usize).filter(|&layers| layers <= MOST_LAYERS);
        let vocabulary = text.get("vocab_size").or(config.get("vocab_size")).and_then(Value::as_u64);
        Ok(Self { layers, family, vocabulary: vocabulary.map(|tokens| tokens as usize) })
    }

    /// Nothing, where there is no base model or it cannot be read.
    pub fn if_readable(base: Option<BasePath>) -> Self {
        base.and_then(|base| Self::of(&base).ok()).unwrap_or_default()
    }

    /// The layers of the base model; if unknown, those of the adapter, unless its configuration implies that there are others.
    pub fn layers_for(&self, adapter: &Adapter) -> Option<usize> {
        self.layers.or_else(|| (!adapter.config.lists_layers()).then(|| adapter.layer_count()))
    }
}
