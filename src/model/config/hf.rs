//! The configuration of a Hugging Face folder, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::ConfigFields;
use super::{ExpertSizes, MOST_LAYERS, ModelConfig, Scales, Softcaps, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::activation::{Activation, Gating};
use crate::model::family::{self, ExpertWeights, GeluMeaning, Norms, Residual, Sliding};
use crate::tensors;

/// Settings that change what a decoder computes in a way that is not supported, and their meaning.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("is_encoder_decoder", "an encoder beside the decoder"),
    ("add_cross_attention", "attention to another model's states"),
    ("use_bidirectional_attention", "attention to later tokens"),
    ("scale_attn_by_inverse_layer_idx", "attention scaled layer by layer"),
    ("apply_residual_connection_post_layernorm", "residuals after the norms"),
    ("clip_qkv", "clipped queries and keys"),
];

impl ModelConfig {
    /// Reads the `config.json` of transformers 4 and 5. `path` is only for messages.
    pub fn from_hf(config: &Map<String, Value>, path: &Path) -> Result<Self> {
        refuse_quantised(config, path)?;
        let (config, tied) = decoder_of(config);
        refuse_unsupported(config, path)?;
        let missing = BaseError::Config { path: path.into(), key: "model_type".into(), problem: "is missing" };
        let model_type = config.get("model_type").and_then(Value::as_str).ok_or(missing)?;
        let family = family::by_model_type(model_type).ok_or_else(|| unsupported_family(path, model_type))?;
        let fields = ConfigFields { config, family, path };
        fields.check_types()?;
        let layers = fields.size("num_hidden_layers")?;
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let context = fields.size("max_position_embeddings")?;
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(hidden_size / heads);
        let windows = fields.windows(layers)?;
        let rotary = fields.rotary(context, head_dim, &windows)?;
        let experts = fields.experts(layers)?;
        let intermediate = fields.optional_size("intermediate_size")?.or(fields.optional_size("n_inner")?);
        let per_hidden = family.intermediate_per_hidden.map(|factor| hidden_size * factor);
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size: match intermediate.or(per_hidden).or(experts.as_ref().map(|e| e.intermediate_size)) {
                Some(size) => size,
                None => fields.size("intermediate_size")?,
            },
            heads,
            kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            // `Model::open` replaces it by the rows of the embedding.
            vocab_size: fields.optional_size("vocab_size")?.unwrap_or(1),
            context,
            norm_eps: fields.norm_eps(),
            rotary,
            windows,
            skipped: fields.layers("cross_attention_layers").collect(),
            tied: tied.or(fields.flag("tie_word_embeddings")),
            has_head_norms: Some(fields.flag("qk_layernorm").or(fields.flag("use_qk_norm")).unwrap_or(false)),
            residual: match fields.flag("use_parallel_residual") {
                Some(true) => Residual::Parallel,
                Some(false) => Residual::Sequential,
                None => family.residual,
            },
            gating: fields.gating()?,
            experts,
            scales: fields.scales(Scales::plain(family, hidden_size, head_dim)),
            softcaps: Softcaps {
                attention: fields.float("attn_logit_softcapping"),
                logits: fields.float("final_logit_softcapping"),
            },
        };
        config.check(path)
    }
}

/// Refuses weights in an encoding that is not read.
fn refuse_quantised(config: &Map<String, Value>, path: &Path) -> Result<()> {
    let Some(quantised) = config.get("quantization_config").and_then(Value::as_object) else { return Ok(()) };
    match quantised.get("quant_method").and_then(Value::as_str).unwrap_or("unknown") {
        method if tensors::reads_method(method) => Ok(()),
        method => Err(BaseError::Quantised { path: path.into(), method: method.into() }.into()),
    }
}

fn refuse_unsupported(config: &Map<String, Value>, path: &Path) -> Result<()> {
    let is_on = |key: &str| config.get(key).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
    let types = config.get("layer_types").and_then(Value::as_array);
    let is_attention = |name: &&Value| ["full_attention", "sliding_attention"].iter().any(|known| *name == known);
    let other = types.into_iter().flatten().find(|name| !is_attention(name));
    let feature = match (UNSUPPORTED.into_iter().find(|(key, _)| is_on(key)), other) {
        (Some((key, meaning)), _) => format!("{meaning} (`{key}`)"),
        (None, Some(name)) => format!("layers of the type {name} (`layer_types`)"),
        (None, None) => return Ok(()),
    };
    Err(BaseError::UnsupportedFeature { path: path.into(), feature }.into())
}

/// The configuration of the text decoder, which multimodal models keep inside theirs, and whether the outer one says that
/// the head is tied.
fn decoder_of(config: &Map<String, Value>) -> (&Map<String, Value>, Option<bool>) {
    match config.get("text_config").and_then(Value::as_object) {
        Some(text) => (text, config.get("tie_word_embeddings").and_then(Value::as_bool)),
        None => (config, None),
    }
}

impl ConfigFields<'_> {
    fn norm_eps(&self) -> f64 {
        let key = if self.family.norms == Norms::Layer { "layer_norm_eps" } else { "rms_norm_eps" };
        self.float(key).unwrap_or(self.family.norm_eps)
    }

    /// The sliding window of each layer.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let sliding = self.family.sliding;
        // Some configurations have a window of 0 beside `use_sliding_window: false`.
        let is_off = sliding == Sliding::Never || self.flag("use_sliding_window") == Some(false);
        let window = if is_off { None } else { self.optional_size("sliding_window")? };
        let types = match self.get("layer_types").and_then(Value::as_array) {
            Some(_) if sliding == Sliding::Always => None,
            Some(types) if types.len() < layers => return Err(self.problem("layer_types", "is too short").into()),
            types => types,
        };
        let most = self.float("max_window_layers").map_or(0, |layers| layers as usize);
        let pattern = self.optional_size("sliding_window_pattern")?;
        let slides = |layer: usize| match types {
            Some(types) => types[layer] == "sliding_attention",
            None => match sliding {
                Sliding::Never => false,
                Sliding::Always => true,
                Sliding::AllButEvery(usual) => !(layer + 1).is_multiple_of(pattern.unwrap_or(usual)),
                Sliding::FromMaxWindowLayers => layer >= most,
                Sliding::EvenBelowMaxWindowLayers => layer < most && layer.is_multiple_of(2),
                Sliding::WithoutRotary => !self.is_rotary(layer, None),
            },
        };
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn gating(&self) -> Result<Gating> {
        if let Gating::Clamped { alpha, limit } = self.family.gating {
            let number = |key: &str, usual: f64| self.float(key).unwrap_or(usual);
            return Ok(Gating::Clamped { alpha: number("swiglu_alpha", alpha), limit: number("swiglu_limit", limit) });
        }
        let Some(name) = self.text("activation") else { return Ok(self.family.gating) };
        match Activation::named(name) {
            Some(Activation::Gelu) if self.family.gelu == GeluMeaning::Tanh => Ok(Gating::By(Activation::GeluTanh)),
            Some(activation) => Ok(Gating::By(activation)),
            None => Err(self.unsupported(format!("the activation `{name}`")).into()),
        }
    }

    fn experts(&self, layers: usize) -> Result<Option<ExpertSizes>> {
        let Some(experts) = self.family.experts else { return Ok(None) };
        let step = self.optional_size("decoder_sparse_step")?.unwrap_or(1);
        let dense: Vec<usize> = self.layers("mlp_only_layers").collect();
        let is_sparse = |layer: usize| (layer + 1).is_multiple_of(step) && !dense.contains(&layer);
        let intermediate_size = match self.optional_size("moe_intermediate_size")? {
            Some(size) => size,
            None => self.size("intermediate_size")?,
        };
        Ok(Some(ExpertSizes {
            count: self.size("num_experts")?,
            per_token: self.size("num_experts_per_tok")?,
            intermediate_size,
            shared_intermediate_size: self.optional_size("shared_expert_intermediate_size")?.unwrap_or(0),
            weights_sum_to_one: experts.weights == ExpertWeights::SumToOne || self.flag("norm_topk_prob") == Some(true),
            sparse_layers: (0..layers.min(MOST_LAYERS)).filter(|&layer| is_sparse(layer)).collect(),
        }))
    }

    fn scales(&self, plain: Scales) -> Scales {
        let by_scalar = self.float("query_pre_attn_scalar").map_or(plain.attention, |scalar| 1.0 / scalar.sqrt());
        // GPT-2 can do without the root.
        let attention = if self.flag("scale_attn_weights") == Some(false) { 1.0 } else { by_scalar };
        let divided = self.float("logits_scaling").map_or(plain.logits, |divisor| 1.0 / divisor);
        Scales {
            embedding: self.float("embedding_multiplier").unwrap_or(plain.embedding),
            residual: self.float("residual_multiplier").unwrap_or(plain.residual),
            attention: self.float("attention_multiplier").unwrap_or(attention),
            logits: self.float("logit_scale").unwrap_or(divided),
        }
    }
}
