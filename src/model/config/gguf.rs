//! The configuration of a GGUF file, from its metadata.
//!
//! llama.cpp keeps a part of what `config.json` says in its code, by the architecture: such numbers are `gguf_constants`
//! of a family.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ExpertSizes, Gating, MOST_LAYERS, ModelConfig, Scales, Softcaps, ropes_by_window, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::family::{self, Family, Norms, Positions};
use crate::model::rope::{Rope, Scaling};
use crate::model::weights::Weights;
use crate::tensors::GgufMetadata;

impl ModelConfig {
    /// Reads the metadata of a GGUF file, and from its tensors the size of the vocabulary and LongRoPE's factors.
    pub fn from_gguf(metadata: &GgufMetadata, weights: &Weights, path: &Path) -> Result<Self> {
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let architecture = metadata.string("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let experts = metadata.integer(&format!("{architecture}.expert_count")).is_some_and(|count| count > 0);
        let family = family::by_gguf_architecture(architecture, experts)
            .ok_or_else(|| unsupported_family(path, architecture))?;
        let keys = Keys { metadata, architecture, family, path };
        let layers = keys.size("block_count")?;
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let context = keys.size("context_length")?;
        let head_dim = keys.optional("attention.key_length")?.unwrap_or(hidden_size / heads.max(1));
        let windows = keys.windows(layers)?;
        let (ropes, layer_ropes) = keys.ropes(weights, (context, head_dim), &windows)?;
        let norm_eps = match family.norms {
            Norms::Layer => "attention.layer_norm_epsilon",
            Norms::Rms | Norms::RmsPlusOne => "attention.layer_norm_rms_epsilon",
        };
        let intermediate_size = keys.size("feed_forward_length")?;
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size,
            heads,
            kv_heads: keys.optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            vocab_size: weights.vocab_size()?,
            context,
            norm_eps: keys.number(norm_eps).ok_or_else(|| keys.missing(norm_eps))?,
            ropes,
            layer_ropes,
            windows,
            skipped: BTreeSet::new(),
            tied: None,
            head_norms: None,
            parallel: keys.boolean("use_parallel_residual").unwrap_or(family.parallel),
            gating: keys.gating(),
            experts: keys.experts(layers, intermediate_size)?,
            scales: keys.scales(Scales::plain(
                family,
                hidden_size,
                attention_size(family, layers, hidden_size, heads, head_dim).max(1),
            )),
            softcaps: Softcaps {
                attention: keys.number("attn_logit_softcapping"),
                logits: keys.number("final_logit_softcapping"),
            },
        };
        config.check(path)
    }
}

/// The size whose root divides the products of queries and keys: that of a head, but for the 27B models of Gemma 2 and 3,
/// which llama.cpp knows by their numbers of layers.
fn attention_size(family: &Family, layers: usize, hidden_size: usize, heads: usize, head_dim: usize) -> usize {
    let is_gemma_27b = matches!((family.model_types[0], layers), ("gemma2", 46) | ("gemma3_text", 62));
    if is_gemma_27b { hidden_size / heads.max(1) } else { head_dim }
}

/// Typed access to the keys of an architecture, and to what llama.cpp knows without them.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    architecture: &'a str,
    family: &'static Family,
    path: &'a Path,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn missing(&self, name: &str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: self.key(name), problem: "is missing" }
    }

    fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    /// A size; one for each layer, which the format allows, is not supported.
    fn optional(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        match self.metadata.integer(&key) {
            Some(value) => Ok(Some(value as usize)),
            None if self.metadata.has(&key) => {
                Err(self.unsupported(format!("a `{key}` that is not one number")).into())
            }
            None => Ok(None),
        }
    }

    fn size(&self, name: &str) -> Result<usize> {
        self.optional(name)?.ok_or_else(|| self.missing(name).into())
    }

    /// A number of the file, or the one that llama.cpp takes.
    fn number(&self, name: &str) -> Option<f64> {
        let key = self.key(name);
        let stored = self.metadata.float(&key).or_else(|| self.metadata.integer(&key).map(|value| value as f64));
        stored.or_else(|| self.constant(name))
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        self.metadata.boolean(&self.key(name))
    }

    fn constant(&self, name: &str) -> Option<f64> {
        self.family.gguf_constant(name)
    }

    /// The window of each layer. Which layers slide is mostly not in the file.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let window = self.optional("attention.sliding_window")?.filter(|&window| window > 0);
        let period = self.constant("sliding_window_pattern").map(|period| period as usize);
        let slides = |layer: usize| period.is_none_or(|period| !(layer + 1).is_multiple_of(period));
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn gating(&self) -> Gating {
        match (self.constant("swiglu_alpha"), self.constant("swiglu_limit")) {
            (Some(alpha), Some(limit)) => Gating::Clamped { alpha, limit },
            _ => Gating::By(self.family.activation),
        }
    }

    fn experts(&self, layers: usize, intermediate_size: usize) -> Result<Option<ExpertSizes>> {
        let Some(experts) = self.family.experts else { return Ok(None) };
        Ok(Some(ExpertSizes {
            count: self.size("expert_count")?,
            per_token: self.size("expert_used_count")?,
            intermediate_size: self.optional("expert_feed_forward_length")?.unwrap_or(intermediate_size),
            shared_intermediate_size: self.optional("expert_shared_feed_forward_length")?.unwrap_or(0),
            normalises: experts.normalises.unwrap_or(self.constant("norm_topk_prob") == Some(1.0)),
            sparse_layers: (0..layers.min(MOST_LAYERS)).collect(),
        }))
    }

    fn scales(&self, plain: Scales) -> Scales {
        let logits = self.number("logit_scale").filter(|&scale| scale != 0.0);
        let divides = self.constant("logit_scale_divides") == Some(1.0);
        Scales {
            embedding: self.number("embedding_scale").unwrap_or(plain.embedding),
            residual: self.number("residual_scale").unwrap_or(plain.residual),
            attention: self.number("attention.scale").unwrap_or(plain.attention),
            logits: logits.map_or(plain.logits, |scale| if divides { 1.0 / scale } else { scale }),
        }
    }

    /// The rotary embeddings, and for each layer the place of its own.
    fn ropes(
        &self,
        weights: &Weights,
        (context, head_dim): (usize, usize),
        windows: &[Option<usize>],
    ) -> Result<(Vec<Rope>, Vec<Option<usize>>)> {
        if !matches!(self.family.positions, Positions::Rotary | Positions::RotaryNeighbours) {
            return Ok((Vec::new(), vec![None; windows.len()]));
        }
        let full = self.rope(weights, context, head_dim)?;
        let local = self.number("rope.freq_base_swa");
        let local = local.map(|theta| Rope { theta, dim: full.dim, scaling: Scaling::None });
        let (ropes, mut places) = ropes_by_window(full, local, windows);
        let interval = self.constant("no_rope_layer_interval").map_or(0, |interval| interval as usize);
        for (layer, place) in places.iter_mut().enumerate() {
            let windowless = self.family.ropes_only_in_windows && windows[layer].is_none();
            if windowless || interval > 0 && (layer + 1).is_multiple_of(interval) {
                *place = None;
            }
        }
        Ok((ropes, places))
    }

    /// The rope of a model. Llama 3's scaling is not in the metadata but in a tensor, `rope_freqs.weight`, which
    /// [`Rope::table`] is given beside this.
    fn rope(&self, weights: &Weights, context: usize, head_dim: usize) -> Result<Rope> {
        let number = |name: &str| self.number(&format!("rope.{name}"));
        let theta = number("freq_base").unwrap_or(10_000.0);
        let original_context = number("scaling.original_context_length").unwrap_or(context as f64);
        let stretch = number("scaling.factor").or_else(|| number("scale_linear")).filter(|&factor| factor != 1.0);
        let attention_factor = number("scaling.attn_factor");
        let kind = self.metadata.string(&self.key("rope.scaling.type")).unwrap_or("linear");
        let scaling = match (weights.longrope_factors()?, kind, stretch) {
            (Some((short, long)), ..) => {
                let factor = context as f64 / original_context;
                Scaling::LongRope { short, long, factor, original_context, attention_factor }
            }
            (None, "none", _) | (None, "linear", None) => Scaling::None,
            (None, "linear", Some(factor)) => Scaling::Linear { factor },
            (None, "yarn", Some(factor)) => Scaling::Yarn {
                factor,
                original_context,
                beta_fast: number("scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: number("scaling.yarn_beta_slow").unwrap_or(1.0),
                truncate: self.constant("yarn_truncate") != Some(0.0),
                attention_factor: attention_factor.map(|scale| scale * (1.0 + 0.1 * factor.ln())),
                mscale: None,
            },
            (None, other, _) => {
                return Err(self.unsupported(format!("the rope scaling `{other}`")).into());
            }
        };
        let dim = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
        Ok(Rope { theta, dim, scaling })
    }
}
