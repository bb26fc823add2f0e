//! Typed access to `config.json`: the spellings that a number has had, and the value that transformers takes if it is absent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::account::Account;
use crate::error::{BaseError, Result};
use crate::model::family::Family;

/// The keys that all families have. Any other is read only if the family says that it reads it.
const COMMON: &str = "hidden_size num_hidden_layers num_attention_heads vocab_size max_position_embeddings \
    original_max_position_embeddings rms_norm_eps layer_norm_eps activation rope_theta rope_scaling rope_parameters \
    tie_word_embeddings";

/// The keys by the type that their values must have.
const NUMBERS: &str = "rms_norm_eps layer_norm_eps rope_theta partial_rotary_factor rope_local_base_freq \
    query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping embedding_multiplier residual_multiplier \
    attention_multiplier logits_scaling logit_scale swiglu_alpha swiglu_limit original_max_position_embeddings \
    no_rope_layer_interval max_window_layers block_ffn_dim_multiplier clip_qkv softmax_scale lm_head_multiplier \
    key_multiplier attention_in_multiplier attention_out_multiplier ssm_in_multiplier ssm_out_multiplier \
    routed_scaling_factor moe_norm_min router_jitter_noise attn_scale floor_scale attention_chunk_size scale_depth dim_model_base";
const FLAGS: &str = "use_sliding_window tie_word_embeddings use_parallel_residual norm_topk_prob scale_attn_weights \
    qk_layernorm use_qk_norm attention_bias mlp_bias conv_bias qkv_bias use_qkv_bias use_bias attention_out_bias \
    attention_k_eq_v enable_moe_block use_double_wide_mlp block_auto_adjust_ff_dim multi_query new_decoder_architecture \
    bias enable_bias mamba_conv_bias mamba_proj_bias mamba_rms_norm mamba_norm_before_gate projectors_bias \
    attn_temperature_tuning lm_head_bias use_expert_bias linear_allow_neg_eigval embeddings_are_scaled altup_correct_scale";
/// The keys that have no meaning without a value: transformers fails at a `null`, in place of taking its default.
const NEVER_NULL: &str = "rms_norm_eps layer_norm_eps query_pre_attn_scalar embedding_multiplier residual_multiplier \
    attention_multiplier logits_scaling logit_scale swiglu_alpha swiglu_limit activation lm_head_multiplier \
    key_multiplier attention_in_multiplier attention_out_multiplier ssm_in_multiplier ssm_out_multiplier time_step_limit \
    time_step_min mamba_d_head mamba_n_heads mamba_n_groups mamba_d_state mamba_d_conv \
    routed_scaling_factor moe_norm_min";
const LISTS: &str = "layer_types mlp_layer_types no_rope_layers mlp_only_layers cross_attention_layers full_attn_idxs \
    attn_layer_indices moe_layers layer_rope_theta";

/// Keys, what their values must be, and how to say that one is not.
type TypeRule = (&'static str, fn(&Value) -> bool, &'static str);
const TYPE_RULES: [TypeRule; 5] = [
    (NUMBERS, |value| value.as_f64().is_some_and(|number| number > 0.0), "is not a positive number"),
    (FLAGS, Value::is_boolean, "is neither true nor false"),
    (LISTS, Value::is_array, "is not a list"),
    ("rope_scaling rope_parameters", Value::is_object, "is not an object"),
    ("activation", Value::is_string, "is not a name"),
];

/// The fields of one decoder's configuration.
pub struct ConfigFields<'a> {
    config: &'a Map<String, Value>,
    /// Which keys were asked for.
    pub account: Account<'a>,
    /// The rotary parameters that nobody asked for.
    pub unread_rope_keys: RefCell<BTreeSet<String>>,
    pub family: &'static Family,
    pub path: &'a Path,
}

impl<'a> ConfigFields<'a> {
    pub fn new(config: &'a Map<String, Value>, family: &'static Family, path: &'a Path) -> Self {
        Self { config, account: Account::of(config), unread_rope_keys: RefCell::default(), family, path }
    }

    /// What is wrong with a key, by the name that the configuration has for it.
    pub fn problem(&self, key: &str, problem: &'static str) -> BaseError {
        let name = self.names(key).find(|name| self.config.contains_key(*name)).or(self.names(key).next());
        BaseError::Config { path: self.path.into(), key: name.unwrap_or(key).into(), problem }
    }

    pub fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    /// The value of a key under any of its names; `null` is a value. Keys that the family does not read have none.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        // All names count as read, and the first that is there is taken.
        self.names(key).map(|name| self.account.get(name)).fold(None, Option::or)
    }

    /// The value of a key, whatever the family reads, by the names that it has in the family's configurations. This does not count
    /// as reading it.
    pub fn peek(&self, key: &str) -> Option<&'a Value> {
        let names = self.family.spellings(key).unwrap_or_default();
        names.iter().find_map(|name| self.config.get(*name)).or(self.config.get(key))
    }

    /// The names of a key; none if the family does not read it.
    pub fn names<'k>(&self, key: &'k str) -> impl Iterator<Item = &'k str> {
        let is_read = COMMON.split_whitespace().any(|common| common == key) || self.family.reads(key);
        let spellings = self.family.spellings(key);
        let own = spellings.is_none().then_some(key);
        own.into_iter().chain(spellings.unwrap_or_default().iter().copied()).filter(move |_| is_read)
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// A number, or the family's if the key is absent; `null` is not absent.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(value) => value.as_f64(),
            None => self.family.number(key),
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(value) => value.as_bool(),
            None => self.family.flag(key),
        }
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(self.family.number(key).map(|value| value as usize)),
            Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if size > 0 => Ok(Some(size as usize)),
                _ => Err(self.problem(key, "is not a positive integer").into()),
            },
        }
    }

    /// As [`optional_size`](Self::optional_size), of what may be none.
    pub fn optional_count(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key).and_then(Value::as_u64) {
            Some(0) => Ok(Some(0)),
            _ => self.optional_size(key),
        }
    }

    pub fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.problem(key, "is missing").into())
    }

    /// Refuses values of a wrong type, which would otherwise pass for absent ones.
    pub fn check_types(&self) -> Result<()> {
        // This does not count as reading them.
        let value = |key: &str| self.names(key).find_map(|name| self.config.get(name));
        if let Some(key) = NEVER_NULL.split_whitespace().find(|key| value(key).is_some_and(Value::is_null)) {
            return Err(self.problem(key, "is null").into());
        }
        for (keys, is_valid, problem) in TYPE_RULES {
            let wrong = |key: &&str| value(key).is_some_and(|value| !value.is_null() && !is_valid(value));
            // A number of layers, and a share, which may be 0.
            let may_be_zero = |key: &str| ["max_window_layers", "router_jitter_noise"].contains(&key);
            let is_zero = |key: &str| may_be_zero(key) && value(key).and_then(Value::as_f64) == Some(0.0);
            if let Some(key) = keys.split_whitespace().filter(wrong).find(|key| !is_zero(key)) {
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
