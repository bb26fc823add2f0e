//! The configuration of a GGUF file, from its metadata.
//!
//! llama.cpp keeps a part of what `config.json` says in its code, by the architecture: the family has it as
//! [`GgufConventions`](crate::model::family::GgufConventions).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::hf::NAMED;
use super::{ByLayer, ExpertSizes, HeadSizes, MOST_LAYERS, ModelConfig, Rotary, Scales, Softcaps, unsupported_family};
use crate::error::{BaseError, Result};
use crate::format::first_names;
use crate::model::family::{
    self, ExpertWeights, Family, LogitScale, MixerKind, Norms, PromptAttention, Residual, RotaryLayers, Sliding,
};
use crate::model::rope::{Rope, RopeScaling};
use crate::model::routing::Routing;
use crate::model::weights::Weights;
use crate::tensors::GgufMetadata;

impl ModelConfig {
    /// Reads the metadata of a GGUF file, and from its tensors the size of the vocabulary and LongRoPE's factors.
    /// Says beside it which of the architecture's keys are not used.
    pub fn from_gguf(metadata: &GgufMetadata, weights: &Weights, path: &Path) -> Result<(Self, Option<String>)> {
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let architecture = metadata.string("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let experts = metadata.integer(&format!("{architecture}.expert_count")).is_some_and(|count| count > 0);
        let family = family::by_gguf_architecture(architecture, experts)
            .ok_or_else(|| unsupported_family(path, architecture))?;
        let keys = Keys { metadata, architecture, family, path, asked: RefCell::default() };
        if keys.boolean("attention.causal") == Some(false) {
            return Err(keys.unsupported("attention to later tokens (`attention.causal`)".into()).into());
        }
        let layers = keys.size("block_count")?;
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let context = keys.size("context_length")?;
        let kv_heads = keys.optional("attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = keys.optional("attention.key_length")?.unwrap_or(hidden_size / heads.max(1));
        let residual = match keys.boolean("use_parallel_residual") {
            Some(true) => Residual::Parallel,
            Some(false) => Residual::Sequential,
            None => family.residual,
        };
        let windows = keys.windows(layers)?;
        let rotary = keys.rotary(weights, context, head_dim, &windows)?;
        let norm_eps = match family.norms {
            Norms::Layer | Norms::LayerPlusOne | Norms::LayerWithoutWeights => "attention.layer_norm_epsilon",
            Norms::Rms | Norms::RmsPlusOne | Norms::RmsWithoutWeights => "attention.layer_norm_rms_epsilon",
        };
        let intermediate_size = keys.size("feed_forward_length")?;
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
            norm_eps: keys.number(norm_eps).ok_or_else(|| keys.missing(norm_eps))?,
            rotary,
            windows,
            by_layer: ByLayer::same(layers, HeadSizes { kv_heads, head_dim }, intermediate_size),
            per_layer: None,
            altup: None,
            chunks: vec![None; layers.min(MOST_LAYERS)],
            mixers: vec![MixerKind::Attention; layers.min(MOST_LAYERS)],
            other_mixer: None,
            skipped: BTreeSet::new(),
            tied: None,
            has_head_bias: None,
            has_head_norms: None,
            residual,
            has_mlp_norm: residual == Residual::Sequential,
            gating: family.gating,
            experts: keys.experts(layers, intermediate_size)?,
            scales: {
                let by_hidden = family.gguf.layers_with_attention_by_hidden == Some(layers);
                let attention_size = if by_hidden { hidden_size / heads.max(1) } else { head_dim };
                keys.scales(Scales::plain(family, hidden_size, attention_size.max(1)))
            },
            softcaps: Softcaps {
                attention: keys.number("attn_logit_softcapping"),
                logits: keys.number("final_logit_softcapping"),
            },
            clip: None,
            biased: None,
            prompt: PromptAttention::Causal,
        };
        Ok((config.check(path)?, keys.unread()))
    }
}

/// Keys that change nothing in an evaluation: sizes that the tensors have, and settings of images and of training.
const HARMLESS: &str = "vocab_size attention.value_length rope.dimension_sections rope.scaling.finetuned \
    tensor_data_layout n_deepstack_layers";

/// The number of a router that takes the sigmoid of its scores.
const SIGMOID_ROUTER: usize = 2;

/// Typed access to the keys of an architecture.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    architecture: &'a str,
    family: &'static Family,
    path: &'a Path,
    /// The keys that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.architecture);
        self.asked.borrow_mut().insert(key.clone());
        key
    }

    /// Names the architecture's keys that nobody asked for.
    fn unread(&self) -> Option<String> {
        let asked = self.asked.borrow();
        let prefix = format!("{}.", self.architecture);
        let is_off = |key: &str| self.metadata.boolean(key) == Some(false) || self.metadata.integer(key) == Some(0);
        let is_harmless = |name: &str| HARMLESS.split_whitespace().any(|harmless| harmless == name);
        let names = self.metadata.keys().filter(|key| !asked.contains(*key) && !is_off(key));
        let unread: BTreeSet<&str> =
            names.filter(|key| key.strip_prefix(&prefix).is_some_and(|name| !is_harmless(name))).collect();
        let names = first_names(&unread.iter().collect::<Vec<_>>(), NAMED);
        (!unread.is_empty()).then(|| format!("`{}` has keys that are not used: {names}", self.path.display()))
    }

    fn missing(&self, name: &str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: self.key(name), problem: "is missing" }
    }

    fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    /// A size. One for each layer, which the format allows, is not supported.
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

    fn number(&self, name: &str) -> Option<f64> {
        let key = self.key(name);
        self.metadata.float(&key).or_else(|| self.metadata.integer(&key).map(|value| value as f64))
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        self.metadata.boolean(&self.key(name))
    }

    /// The window of each layer. Which layers slide is not in the file.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let window = self.optional("attention.sliding_window")?.filter(|&window| window > 0);
        let slides = |layer: usize| match self.family.sliding {
            Sliding::AllButEvery(interval) => !(layer + 1).is_multiple_of(interval),
            _ => true,
        };
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn experts(&self, layers: usize, intermediate_size: usize) -> Result<Option<ExpertSizes>> {
        let Some(experts) = self.family.experts else { return Ok(None) };
        if self.optional("expert_gating_func")? == Some(SIGMOID_ROUTER) {
            return Err(self.unsupported("a router with sigmoids (`expert_gating_func`)".into()).into());
        }
        Ok(Some(ExpertSizes {
            count: self.size("expert_count")?,
            per_token: self.size("expert_used_count")?,
            intermediate_size: self.optional("expert_feed_forward_length")?.unwrap_or(intermediate_size),
            shared_intermediate_size: self.optional("expert_shared_feed_forward_length")?.unwrap_or(0),
            shared_scale: 1.0,
            router_has_bias: true,
            input_size: None,
            routing: Routing::plain(matches!(
                experts.weights,
                ExpertWeights::SumToOne | ExpertWeights::Configured { sum_to_one_in_gguf: true }
            )),
            sparse_layers: (0..layers.min(MOST_LAYERS)).collect(),
        }))
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

    fn rotary(&self, weights: &Weights, context: usize, head_dim: usize, windows: &[Option<usize>]) -> Result<Rotary> {
        if !self.family.positions.are_rotary() {
            return Ok(Rotary::none(windows.len()));
        }
        let full = self.rope(weights, context, head_dim)?;
        let local = self.number("rope.freq_base_swa").or(self.family.gguf.rope_base_in_windows);
        let local = local.map(|theta| Rope { theta, dim: full.dim, scaling: RopeScaling::None, query_growth: None });
        Ok(Rotary::new(full, local, windows, |layer| match self.family.rotary_layers {
            RotaryLayers::All => true,
            RotaryLayers::InWindows | RotaryLayers::InWindowsOrDense => windows[layer].is_some(),
            RotaryLayers::InWindowsIfAny => windows[layer].is_some() || windows.iter().all(Option::is_none),
            RotaryLayers::AllButEvery(interval) => !(layer + 1).is_multiple_of(interval),
        }))
    }

    /// The main rotary embedding. Llama 3's scaling is not in the metadata but in the tensor `rope_freqs.weight`, which
    /// [`Rope::table`] takes beside this.
    fn rope(&self, weights: &Weights, context: usize, head_dim: usize) -> Result<Rope> {
        let number = |name: &str| self.number(&format!("rope.{name}"));
        let theta = number("freq_base").or(self.family.gguf.rope_base).unwrap_or(10_000.0);
        let original_context = number("scaling.original_context_length").unwrap_or(context as f64);
        let stretch = number("scaling.factor").or_else(|| number("scale_linear")).filter(|&factor| factor != 1.0);
        let attention_factor = number("scaling.attn_factor");
        let kind = self.metadata.string(&self.key("rope.scaling.type")).unwrap_or("linear");
        let scaling = match (weights.longrope_factors()?, kind, stretch) {
            (Some((short, long)), ..) => {
                let factor = context as f64 / original_context;
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
                mscale: None,
            },
            (None, other, _) => {
                return Err(self.unsupported(format!("the rope scaling `{other}`")).into());
            }
        };
        let dim = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
        Ok(Rope { theta, dim, scaling, query_growth: None })
    }
}
