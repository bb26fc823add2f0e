//! The configuration of a GGUF file, from its metadata.
//!
//! llama.cpp keeps a part of what `config.json` says in its code, by the architecture: the family has it as
//! [`GgufConventions`](crate::model::family::GgufConventions).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::gguf_keys::Keys;
use super::{HeadSizes, MOST_LAYERS, ModelConfig, Rotary, Scales, Softcaps, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::family::{self, LogitScale, PromptAttention, Residual, RotaryLayers, Sliding};
use crate::model::rope::{Rope, RopeScaling};
use crate::model::weights::Weights;
use crate::tensors::GgufMetadata;

impl ModelConfig {
    /// Reads the metadata of a GGUF file, and from its tensors the size of the vocabulary and LongRoPE's factors.
    /// Says beside it which of the architecture's keys are not used.
    pub fn from_gguf(metadata: &GgufMetadata, weights: &Weights, path: &Path) -> Result<(Self, Option<String>)> {
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let architecture = metadata.string("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let experts = metadata.integer(&format!("{architecture}.expert_count")).is_some_and(|count| count > 0);
        let has_tensor = |ending: &str| {
            weights.store.iter().any(|(name, _)| name.starts_with("blk.") && name.ends_with(&format!(".{ending}")))
        };
        let family = family::by_gguf_architecture(architecture, experts, has_tensor)
            .ok_or_else(|| unsupported_family(path, architecture))?;
        let keys = Keys { metadata, architecture, family, path, weights, asked: RefCell::default() };
        keys.refuse_unsupported()?;
        let predicting = keys.optional("nextn_predict_layers")?.unwrap_or(0);
        let layers = keys.size("block_count")?.saturating_sub(predicting);
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let context = keys.size("context_length")?;
        let other_mixer = keys.other_mixer(hidden_size)?;
        let latent = other_mixer.and_then(|mixer| mixer.latent());
        let usual = keys.optional("attention.key_length")?.unwrap_or(hidden_size / heads.max(1));
        let head_dim = latent.map_or(usual, |latent| latent.head());
        let kv_heads = keys.kv_heads(layers, heads, head_dim)?;
        let residual = match keys.boolean("use_parallel_residual").or(family.flag("use_parallel_residual")) {
            Some(true) => Residual::Parallel,
            Some(false) => Residual::Sequential,
            None => family.residual,
        };
        let windows = keys.windows(layers)?;
        let rotary = keys.rotary(context, head_dim, &windows)?;
        let by_layer = keys.by_layer(HeadSizes { kv_heads, head_dim }, &windows)?;
        let intermediate_size = keys.intermediate_size(&by_layer)?;
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size,
            heads,
            kv_heads,
            head_dim,
            vocab_size: weights.vocab_size()?,
            context,
            norm_eps: keys.norm_eps()?,
            rotary,
            windows,
            by_layer,
            per_layer: keys.per_layer()?,
            altup: None,
            chunks: vec![None; layers.min(MOST_LAYERS)],
            mixers: keys.mixers(layers),
            other_mixer,
            skipped: BTreeSet::new(),
            tied: None,
            has_head_bias: None,
            has_head_norms: None,
            residual,
            has_mlp_norm: residual == Residual::Sequential || keys.has(0, "attn_norm_2.weight"),
            gating: family.gating,
            activations: keys.activations(layers)?,
            experts: keys.experts(layers, intermediate_size)?,
            scales: {
                let by_hidden = family.gguf.layers_with_attention_by_hidden == Some(layers);
                let attention_size = if by_hidden { hidden_size / heads.max(1) } else { head_dim };
                let plain = Scales::plain(family, hidden_size, attention_size.max(1));
                keys.scales(Scales { attention: plain.attention * keys.latent_scale(), ..plain })
            },
            softcaps: Softcaps {
                attention: keys.number("attn_logit_softcapping"),
                logits: keys.number("final_logit_softcapping"),
            },
            clip: keys.number("attention.clamp_kqv").filter(|limit| *limit > 0.0),
            biased: None,
            prompt: PromptAttention::Causal,
        };
        Ok((config.check(path)?, keys.unread()))
    }
}

impl Keys<'_> {
    /// The window of each layer. Older files do not say which layers slide.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let window = self.optional("attention.sliding_window")?.filter(|&window| window > 0);
        let pattern = self.flags("attention.sliding_window_pattern");
        let period = if pattern.is_none() { self.optional("attention.sliding_window_pattern")? } else { None };
        if pattern.as_ref().is_some_and(|pattern| pattern.len() < layers) {
            return Err(self
                .unsupported("a window for some layers alone (`attention.sliding_window_pattern`)".into())
                .into());
        }
        let slides = |layer: usize| match (&pattern, period, self.family.sliding) {
            (Some(pattern), ..) => pattern.get(layer) == Some(&true),
            (None, Some(period), _) => !(layer + 1).is_multiple_of(period.max(1)),
            (None, None, Sliding::AllButEvery(interval)) => !(layer + 1).is_multiple_of(interval),
            _ => true,
        };
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn scales(&self, plain: Scales) -> Scales {
        let logits = self.number("logit_scale").filter(|&scale| scale != 0.0);
        let logits = logits.map(|scale| match self.family.gguf.logit_scale {
            LogitScale::Multiplies => scale,
            LogitScale::Divides => 1.0 / scale,
        });
        Scales {
            embedding: self.number("embedding_scale").unwrap_or(plain.embedding),
            residual: self.number("residual_scale").unwrap_or(plain.residual),
            attention: self.number("attention.scale").unwrap_or(plain.attention),
            logits: logits.unwrap_or(plain.logits),
            ..plain
        }
    }

    fn rotary(&self, context: usize, head_dim: usize, windows: &[Option<usize>]) -> Result<Rotary> {
        if !self.family.positions.are_rotary() || self.family.gguf.rope_is_off {
            // They are written all the same.
            for unused in ["rope.dimension_count", "rope.freq_base"] {
                self.number(unused);
            }
            return Ok(Rotary::none(windows.len()));
        }
        let full = self.rope(context, head_dim)?;
        let local = self.number("rope.freq_base_swa").or(self.family.gguf.rope_base_in_windows);
        let dim = self.optional("rope.dimension_count_swa")?.unwrap_or(full.dim);
        let local = local.map(|theta| Rope { theta, dim, scaling: RopeScaling::None, query_growth: None });
        Ok(Rotary::new(full, local, windows, |layer| match self.family.rotary_layers {
            RotaryLayers::All => true,
            RotaryLayers::InWindows | RotaryLayers::InWindowsOrDense => windows[layer].is_some(),
            RotaryLayers::InWindowsIfAny => windows[layer].is_some() || windows.iter().all(Option::is_none),
            RotaryLayers::AllButEvery(interval) => !(layer + 1).is_multiple_of(interval),
        }))
    }

    /// The main rotary embedding. Llama 3's scaling is not in the metadata but in the tensor `rope_freqs.weight`, which
    /// [`Rope::table`] takes beside this.
    fn rope(&self, context: usize, head_dim: usize) -> Result<Rope> {
        let number = |name: &str| self.number(&format!("rope.{name}"));
        let theta = number("freq_base").or(self.family.gguf.rope_base).unwrap_or(10_000.0);
        let original_context = number("scaling.original_context_length").unwrap_or(context as f64);
        let stretch = number("scaling.factor").or_else(|| number("scale_linear")).filter(|&factor| factor != 1.0);
        let attention_factor = number("scaling.attn_factor");
        let kind = self.metadata.string(&self.key("rope.scaling.type")).unwrap_or("linear");
        if self.family.rope_by_type {
            let dim = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
            return Ok(Rope { theta, dim, scaling: self.rotating_pairs(dim)?, query_growth: None });
        }
        let scaling = match (self.weights.longrope_factors()?, kind, stretch) {
            (Some((short, long)), ..) => {
                let factor = context as f64 / original_context;
                // transformers never takes the long ones there.
                let long = if self.family.reads("short_mscale") { short.clone() } else { long };
                RopeScaling::LongRope { short, long, factor, original_context, attention_factor, factors: None }
            }
            (None, "none", _) | (None, "linear", None) => RopeScaling::None,
            (None, "linear", Some(factor)) => RopeScaling::Linear { factor },
            (None, "yarn", Some(factor)) => RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast: number("scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: number("scaling.yarn_beta_slow").unwrap_or(1.0),
                truncate: !self.family.gguf.yarn_is_exact,
                attention_factor: attention_factor.map(|scale| scale * (1.0 + 0.1 * factor.ln())),
                // What it is multiplied by is part of the scale of scores then.
                mscale: number("scaling.yarn_log_multiplier").map(|_| (1.0, 1.0)),
            },
            (None, other, _) => {
                return Err(self.unsupported(format!("the rope scaling `{other}`")).into());
            }
        };
        let dim = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
        Ok(Rope { theta, dim, scaling, query_growth: None })
    }

    /// Which pairs rotate in full layers: those whose frequencies are not divided by a number beyond all others.
    fn rotating_pairs(&self, dim: usize) -> Result<RopeScaling> {
        let divisors = self.weights.rope_divisors()?.unwrap_or_default();
        let pairs = divisors.iter().take_while(|divisor| **divisor == 1.0).count();
        let is_known = divisors.len() == dim / 2 && divisors[pairs..].iter().all(|divisor| *divisor >= STILL);
        match is_known {
            true => Ok(RopeScaling::Proportional { pairs, factor: 1.0 }),
            false => Err(self.unsupported("the numbers of `rope_freqs.weight`".into()).into()),
        }
    }
}

/// A divisor of frequencies that leaves no rotation.
const STILL: f32 = 1e29;
