//! What a base model says about itself, from `config.json` or from GGUF metadata, as one validated value.

mod gguf;
mod hf;

use std::path::Path;

use candle_core::Tensor;

use super::family::{self, Family};
use super::rope::Rope;
use crate::error::{BaseError, Result};

/// The numbers of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub family: &'static Family,
    pub layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    /// The longest sequence the model was made for.
    pub context: usize,
    pub norm_eps: f64,
    /// The rotary embeddings that occur, and for each layer the place of its own; `None` is a layer without one.
    pub ropes: Vec<Rope>,
    pub layer_ropes: Vec<Option<usize>>,
    /// Per layer, how many positions back attention sees (itself included); `None` is all of them.
    pub windows: Vec<Option<usize>>,
    /// `tie_word_embeddings`, where it is said.
    pub tied: Option<bool>,
    pub activation: Activation,
    pub scales: Scales,
    pub softcaps: Softcaps,
}

impl ModelConfig {
    /// The number of values of each token's queries over all heads.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The number of values of each token's keys (or values) over all heads.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn check(self, path: &Path) -> Result<Self> {
        let wrong = |key: &str, problem| BaseError::Config { path: path.into(), key: key.into(), problem };
        let sizes = [
            ("number of layers", self.layers),
            ("hidden size", self.hidden_size),
            ("intermediate size", self.intermediate_size),
            ("number of heads", self.heads),
            ("number of key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("vocabulary size", self.vocab_size),
            ("context length", self.context),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0 || *size > LARGEST_SIZE) {
            return Err(wrong(name, "is zero or impossibly large").into());
        }
        if self.layers > MOST_LAYERS {
            return Err(wrong("number of layers", "is impossibly large").into());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(wrong("number of heads", "is not a multiple of the number of key-value heads").into());
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(wrong("head size", "is odd").into());
        }
        Ok(self)
    }
}

/// The activation of the MLP's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// GELU by the error function, and its approximation by tanh.
    Gelu,
    GeluTanh,
}

impl Activation {
    /// By the names of transformers (`activations.py`).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_pytorch_tanh" | "gelu_new" => Some(Self::GeluTanh),
            _ => None,
        }
    }

    pub fn apply(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
        }
    }
}

/// Constants that values are multiplied with; 1 as a rule, but for attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    pub embedding: f64,
    /// What a block adds to the hidden states.
    pub residual: f64,
    /// The products of queries and keys; 1/√head_dim as a rule.
    pub attention: f64,
    pub logits: f64,
}

impl Scales {
    /// Those of a family whose configuration says nothing else.
    fn plain(family: &Family, hidden_size: usize, head_dim: usize) -> Self {
        let embedding = if family.scales_embedding { (hidden_size as f64).sqrt() } else { 1.0 };
        Self { embedding, residual: 1.0, attention: 1.0 / (head_dim as f64).sqrt(), logits: 1.0 }
    }
}

/// Soft bounds c·tanh(x / c) on scores and logits, where a model has them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Softcaps {
    pub attention: Option<f64>,
    pub logits: Option<f64>,
}

/// Bounds on what a configuration may claim, far above any model, so that sizes multiply without overflow.
const LARGEST_SIZE: usize = 1 << 24;
const MOST_LAYERS: usize = 10_000;

/// The rotary embeddings of a model whose sliding layers may have one of their own, and for each layer the place of its.
fn ropes_by_window(full: Rope, local: Option<Rope>, windows: &[Option<usize>]) -> (Vec<Rope>, Vec<Option<usize>>) {
    let places = windows.iter().map(|window| Some(usize::from(local.is_some() && window.is_some()))).collect();
    ([Some(full), local].into_iter().flatten().collect(), places)
}

fn unsupported_family(path: &Path, model_type: &str) -> BaseError {
    let (path, model_type) = (path.into(), model_type.into());
    BaseError::UnsupportedFamily { path, model_type, supported: family::supported() }
}
