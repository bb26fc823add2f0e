//! The configuration of a Hugging Face folder, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{Activation, ExpertSizes, Gating, MOST_LAYERS, ModelConfig, Scales, Softcaps, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::family::{self, Norms, Sliding};

/// Settings that change what a decoder computes, in a way that this one cannot, and what they mean.
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
        let fields = Fields { config, family, path };
        fields.check_types()?;
        let layers = fields.size("num_hidden_layers")?;
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let context = fields.size("max_position_embeddings")?;
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(hidden_size / heads);
        let windows = fields.windows(layers)?;
        let (ropes, layer_ropes) = fields.ropes(context, head_dim, &windows)?;
        let experts = fields.experts(layers)?;
        let intermediate = fields.optional_size("intermediate_size")?;
        let per_hidden = family.default("intermediate_per_hidden").map(|factor| hidden_size * factor as usize);
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
            // The embedding tells it better.
            vocab_size: fields.optional_size("vocab_size")?.unwrap_or(1),
            context,
            norm_eps: fields.norm_eps(),
            ropes,
            layer_ropes,
            windows,
            skipped: fields.layers("cross_attention_layers").collect(),
            tied: tied.or(fields.flag("tie_word_embeddings")),
            head_norms: Some(fields.flag("qk_layernorm").or(fields.flag("use_qk_norm")).unwrap_or(false)),
            parallel: fields.flag("use_parallel_residual").unwrap_or(family.parallel),
            gating: fields.gating()?,
            experts,
            scales: fields.scales(Scales::plain(family, hidden_size, head_dim)),
            softcaps: Softcaps {
                attention: fields.own_float("attn_logit_softcapping"),
                logits: fields.float("final_logit_softcapping").filter(|_| family.scales_embedding),
            },
        };
        config.check(path)
    }
}

/// The formats in which quantised weights lie in safetensors are many, and only that of gpt-oss is read.
fn refuse_quantised(config: &Map<String, Value>, path: &Path) -> Result<()> {
    let Some(quantised) = config.get("quantization_config").and_then(Value::as_object) else { return Ok(()) };
    match quantised.get("quant_method").and_then(Value::as_str).unwrap_or("unknown") {
        "mxfp4" => Ok(()),
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

/// The configuration of the text decoder, which multimodal models keep inside theirs, and whether that says that its
/// head is tied.
fn decoder_of(config: &Map<String, Value>) -> (&Map<String, Value>, Option<bool>) {
    match config.get("text_config").and_then(Value::as_object) {
        Some(text) => (text, config.get("tie_word_embeddings").and_then(Value::as_bool)),
        None => (config, None),
    }
}

impl Fields<'_> {
    fn norm_eps(&self) -> f64 {
        let key = if self.family.norms == Norms::Layer { "layer_norm_eps" } else { "rms_norm_eps" };
        self.float(key).or_else(|| self.family.default("norm_eps")).unwrap_or(1e-6)
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
        let pattern = self.optional_size("sliding_window_pattern")?.unwrap_or(1);
        let slides = |layer: usize| match types {
            Some(types) => types[layer] == "sliding_attention",
            None => match sliding {
                Sliding::Never => false,
                Sliding::Always => true,
                Sliding::Pattern => !(layer + 1).is_multiple_of(pattern),
                Sliding::FromMaxWindowLayers => layer >= most,
                Sliding::EvenBelowMaxWindowLayers => layer < most && layer.is_multiple_of(2),
                Sliding::WithoutRope => !self.has_rope(layer),
            },
        };
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn gating(&self) -> Result<Gating> {
        if let (Some(alpha), Some(limit)) = (self.own_float("swiglu_alpha"), self.own_float("swiglu_limit")) {
            return Ok(Gating::Clamped { alpha, limit });
        }
        let Some(name) = self.text("activation") else { return Ok(Gating::By(self.family.activation)) };
        let activation = Activation::named(name);
        let activation = activation.ok_or_else(|| self.unsupported(format!("the activation `{name}`")))?;
        // The first Gemma files say `gelu` and mean the approximation that they were trained with.
        let means_tanh = self.family.default("gelu_means_tanh").is_some() && activation == Activation::Gelu;
        Ok(Gating::By(if means_tanh { Activation::GeluTanh } else { activation }))
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
            normalises: experts.normalises.or(self.flag("norm_topk_prob")).unwrap_or(false),
            sparse_layers: (0..layers.min(MOST_LAYERS)).filter(|&layer| is_sparse(layer)).collect(),
        }))
    }

    fn scales(&self, plain: Scales) -> Scales {
        let attention = self.own_float("query_pre_attn_scalar").map_or(plain.attention, |scalar| 1.0 / scalar.sqrt());
        let logits = self.own_float("logits_scaling").map_or(plain.logits, |divisor| 1.0 / divisor);
        // GPT-2 can do without the root.
        let attention = if self.flag("scale_attn_weights") == Some(false) { 1.0 } else { attention };
        Scales {
            embedding: self.own_float("embedding_multiplier").unwrap_or(plain.embedding),
            residual: self.own_float("residual_multiplier").unwrap_or(plain.residual),
            attention: self.own_float("attention_multiplier").unwrap_or(attention),
            logits: self.own_float("logit_scale").unwrap_or(logits),
        }
    }
}
