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
    ("layer_norm_eps", &["layer_norm_epsilon", "norm_epsilon"]),
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

    /// As [`get`](Self::get), of a key that only some families have: another one's is not believed.
    fn own(&self, key: &str) -> Option<&'a Value> {
        self.family.default(key).and_then(|_| self.get(key))
    }

    /// The number of a key that only some families have, which all have a default for it.
    pub fn own_float(&self, key: &str) -> Option<f64> {
        match self.own(key) {
            Some(value) => value.as_f64(),
            None => self.family.default(key),
        }
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

    /// Refuses values of a type that would be taken for an absent key.
    pub fn check_types(&self) -> Result<()> {
        const NUMBERS: [&str; 18] = [
            "rms_norm_eps",
            "layer_norm_eps",
            "rope_theta",
            "partial_rotary_factor",
            "rope_local_base_freq",
            "query_pre_attn_scalar",
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "embedding_multiplier",
            "residual_multiplier",
            "attention_multiplier",
            "logits_scaling",
            "logit_scale",
            "swiglu_alpha",
            "swiglu_limit",
            "original_max_position_embeddings",
            "no_rope_layer_interval",
            "max_window_layers",
        ];
        const FLAGS: [&str; 7] = [
            "use_sliding_window",
            "tie_word_embeddings",
            "use_parallel_residual",
            "norm_topk_prob",
            "scale_attn_weights",
            "qk_layernorm",
            "use_qk_norm",
        ];
        const LISTS: [&str; 4] = ["layer_types", "no_rope_layers", "mlp_only_layers", "cross_attention_layers"];
        const OBJECTS: [&str; 2] = ["rope_scaling", "rope_parameters"];
        type Kind = (&'static [&'static str], fn(&Value) -> bool, &'static str);
        const KINDS: [Kind; 5] = [
            (&NUMBERS, |value| value.as_f64().is_some_and(|number| number > 0.0), "is not a positive number"),
            (&FLAGS, Value::is_boolean, "is neither true nor false"),
            (&LISTS, Value::is_array, "is not a list"),
            (&OBJECTS, Value::is_object, "is not an object"),
            (&["activation"], Value::is_string, "is not a name"),
        ];
        for (keys, is_right, problem) in KINDS {
            let wrong = |key: &&&str| self.get(key).is_some_and(|value| !value.is_null() && !is_right(value));
            // As many layers as `max_window_layers` says may be none.
            let is_zero = |key: &str| key == "max_window_layers" && self.get(key).and_then(Value::as_u64) == Some(0);
            if let Some(key) = keys.iter().filter(wrong).find(|key| !is_zero(key)) {
                return Err(self.problem(key, problem).into());
            }
        }
        Ok(())
    }

    /// A list of layer numbers.
    pub fn layers(&self, key: &str) -> impl Iterator<Item = usize> + use<'a> {
        let list = self.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|layer| layer.as_u64().map(|layer| layer as usize))
    }
}
