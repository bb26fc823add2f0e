//! Typed access to `config.json`: the spellings that a number has had, and what transformers takes if it is absent.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{BaseError, Result};
use crate::model::family::Family;

/// The names that configurations of other families and times have for a number.
const ALIASES: [(&str, &[&str]); 11] = [
    ("hidden_size", &["n_embd", "n_embed"]),
    ("num_hidden_layers", &["n_layer"]),
    ("num_attention_heads", &["n_head"]),
    ("max_position_embeddings", &["n_positions", "seq_length"]),
    ("intermediate_size", &["n_inner"]),
    ("norm_eps", &["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]),
    ("activation", &["hidden_activation", "hidden_act", "activation_function"]),
    ("rope_theta", &["rotary_emb_base"]),
    ("partial_rotary_factor", &["rotary_pct"]),
    ("num_experts", &["num_local_experts"]),
    ("sliding_window_pattern", &["_sliding_window_pattern"]),
];

/// The fields of one decoder's configuration.
pub struct Fields<'a> {
    pub config: &'a Map<String, Value>,
    pub family: &'static Family,
    pub path: &'a Path,
}

impl<'a> Fields<'a> {
    pub fn problem(&self, key: &str, problem: &'static str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: key.into(), problem }
    }

    pub fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    /// The value of a key under any of its names; `null` is a value.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let aliases = ALIASES.iter().find(|(name, _)| *name == key).map_or(&[][..], |(_, aliases)| aliases);
        std::iter::once(&key).chain(aliases).find_map(|name| self.config.get(*name))
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// What transformers takes if the key is absent, which is not the same as `null`.
    fn default(&self, key: &str) -> Option<f64> {
        if self.get(key).is_some() { None } else { self.family.default(key) }
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_f64).or_else(|| self.default(key))
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool).or_else(|| self.default(key).map(|value| value != 0.0))
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(self.default(key).map(|value| value as usize)),
            Some(value) => match value.as_u64() {
                Some(size) if size > 0 => Ok(Some(size as usize)),
                _ => Err(self.problem(key, "is not a positive integer").into()),
            },
        }
    }

    pub fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.problem(key, "is missing").into())
    }

    /// A list of layer numbers.
    pub fn layers(&self, key: &str) -> impl Iterator<Item = usize> + use<'a> {
        let list = self.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|layer| layer.as_u64().map(|layer| layer as usize))
    }
}
