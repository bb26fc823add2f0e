//! What the configuration of a base model tells, even of a family that this program cannot run.

use serde_json::{Map, Value};

use crate::adapter::names::MOST_LAYERS;
use crate::adapter::{Adapter, Side};
use crate::error::Result;
use crate::files;
use crate::hub::BasePath;
use crate::model::ModelConfig;

/// What is known of a base model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// Decoder layers; `None` where there is an encoder beside the decoder.
    pub layers: Option<usize>,
    /// The layers of a model with an encoder and a decoder.
    pub sides: Vec<(Side, usize)>,
    /// `model_type`
    pub family: Option<String>,
    /// Tokens of its embedding and its head.
    pub vocabulary: Option<usize>,
    /// Its decoder, if that is of a supported family.
    pub decoder: Option<DecoderShape>,
}

/// The modules of a decoder, which LoRA can adapt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderShape {
    /// `model_type` of the decoder, which a multimodal model has beside its own.
    pub model_type: String,
    /// The name of its layers in transformers: `model.layers`.
    pub stack: String,
    /// The linear modules of each layer, by their names inside it, with their sizes (inputs, outputs).
    pub linears: Vec<(&'static str, (usize, usize))>,
    pub hidden_size: usize,
    pub vocabulary: usize,
    /// The names of its embedding and its head.
    pub embedding: &'static str,
    pub head: &'static str,
}

impl DecoderShape {
    /// `None` where layers differ: with experts, or where text skips some.
    pub fn of(config: &ModelConfig, model_type: &str) -> Option<Self> {
        let outer = config.family.outer;
        (config.experts.is_none() && config.skipped.is_empty() && config.by_layer.is_same()).then(|| Self {
            model_type: model_type.into(),
            stack: format!("{}.{}", outer.decoder, outer.stack),
            linears: config.linear_modules(),
            hidden_size: config.hidden_size,
            vocabulary: config.vocab_size,
            embedding: outer.embedding,
            head: outer.head,
        })
    }
}

/// The layers of encoder and decoder, where a configuration has both.
fn sides(config: &Map<String, Value>) -> Vec<(Side, usize)> {
    if config.get("is_encoder_decoder").and_then(Value::as_bool) != Some(true) {
        return Vec::new();
    }
    let first = |keys: [&str; 2]| keys.iter().find_map(|key| config.get(*key)?.as_u64()).map(|layers| layers as usize);
    let encoder = first(["encoder_layers", "num_layers"]);
    // T5 has as many layers in both if it says nothing else.
    let decoder = first(["decoder_layers", "num_decoder_layers"]).or(encoder);
    let known = [(Side::Encoder, encoder), (Side::Decoder, decoder)];
    known.into_iter().filter_map(|(side, layers)| Some((side, layers.filter(|&count| count <= MOST_LAYERS)?))).collect()
}

impl BaseFacts {
    pub fn of(base: &BasePath) -> Result<Self> {
        let BasePath::Folder(folder) = base else { return Ok(Self::default()) };
        let path = folder.join("config.json");
        let config: Map<String, Value> = files::read_model_config(&path)?;
        let text = config.get("text_config").and_then(Value::as_object).unwrap_or(&config);
        let layers = ["num_hidden_layers", "n_layer", "num_layers"].iter().find_map(|key| text.get(*key)?.as_u64());
        let model_type =
            |config: &Map<String, Value>| config.get("model_type").and_then(Value::as_str).map(String::from);
        let layers = layers.map(|layers| layers as usize).filter(|&layers| layers <= MOST_LAYERS);
        let sides = sides(&config);
        let layers = layers.filter(|_| sides.is_empty());
        let vocabulary = text.get("vocab_size").or(config.get("vocab_size")).and_then(Value::as_u64);
        let known = ModelConfig::from_hf(&config, &path).ok();
        let decoder = known.and_then(|known| DecoderShape::of(&known.model, &model_type(text)?));
        let vocabulary = vocabulary.map(|tokens| tokens as usize);
        Ok(Self { layers, sides, family: model_type(&config), vocabulary, decoder })
    }

    /// Nothing, where there is no base model or it cannot be read.
    pub fn if_readable(base: Option<BasePath>) -> Self {
        base.and_then(|base| Self::of(&base).ok()).unwrap_or_default()
    }

    /// The same beside an adapter: the layers are those of the stack that is looked at.
    pub fn beside(&self, adapter: &Adapter) -> Self {
        let of_side = || {
            let side = Side::of(&adapter.stack)?;
            self.sides.iter().find(|(own, _)| *own == side).map(|(_, layers)| *layers)
        };
        Self { layers: self.layers.or_else(of_side), ..self.clone() }
    }

    /// The layers of the base model; if unknown, those of the adapter, unless its configuration implies that there are others.
    pub fn layers_for(&self, adapter: &Adapter) -> Option<usize> {
        self.beside(adapter).layers.or_else(|| (!adapter.config.lists_layers()).then(|| adapter.layer_count()))
    }
}
