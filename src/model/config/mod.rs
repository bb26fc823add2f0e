//! What a base model says about itself, from `config.json` or from GGUF metadata, as one validated value.

mod fields;
mod gguf;
mod hf;
mod hf_rope;

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use candle_nn::ops::sigmoid;

use super::family::{self, Family, Role};
use super::rope::{Rope, Scaling};
use crate::error::{BaseError, Result};
use crate::kernel::elementwise::silu_times;

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
    /// Layers that text goes past: those that attend to images only.
    pub skipped: BTreeSet<usize>,
    /// `tie_word_embeddings`, where it is said.
    pub tied: Option<bool>,
    /// Whether queries and keys are normalised, where only some models of the family do; `None` if the files tell.
    pub head_norms: Option<bool>,
    /// Attention and MLP both start from the layer's input.
    pub parallel: bool,
    pub gating: Gating,
    pub experts: Option<ExpertSizes>,
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

    /// Whether a layer has experts in the place of its MLP.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.sparse_layers.contains(&layer))
    }

    /// The shape of a role's weight: (outputs, inputs) of a linear module, (size) of what is multiplied or added.
    pub fn shape_of(&self, role: Role) -> Vec<usize> {
        let (hidden, intermediate) = (self.hidden_size, self.intermediate_size);
        let shared = self.experts.as_ref().map_or(0, |experts| experts.shared_intermediate_size);
        match role {
            Role::AttentionNorm | Role::AttentionPostNorm | Role::MlpNorm | Role::MlpPostNorm => vec![hidden],
            Role::QueryNorm if self.family.norms_heads_together => vec![self.query_size()],
            Role::KeyNorm if self.family.norms_heads_together => vec![self.kv_size()],
            Role::QueryNorm | Role::KeyNorm => vec![self.head_dim],
            Role::Sinks => vec![self.heads],
            Role::Query => vec![self.query_size(), hidden],
            Role::Key | Role::Value => vec![self.kv_size(), hidden],
            Role::QueryKeyValue => vec![self.query_size() + 2 * self.kv_size(), hidden],
            Role::AttentionOut => vec![hidden, self.query_size()],
            Role::Gate | Role::Up => vec![intermediate, hidden],
            Role::GateUp => vec![2 * intermediate, hidden],
            Role::Down => vec![hidden, intermediate],
            Role::Router => vec![self.experts.as_ref().map_or(0, |experts| experts.count), hidden],
            Role::SharedGate | Role::SharedUp => vec![shared, hidden],
            Role::SharedDown => vec![hidden, shared],
            Role::SharedSwitch => vec![1, hidden],
        }
    }

    /// The sizes (inputs, outputs) of one expert's matrix, by the name of its module or of the parameter of all.
    pub fn expert_shape(&self, name: &str) -> Option<(usize, usize)> {
        let (names, sizes) = (self.family.experts?, self.experts.as_ref()?);
        let (hidden, intermediate) = (self.hidden_size, sizes.intermediate_size);
        if let Some(place) = names.stacked.iter().find_map(|pair| pair.iter().position(|known| *known == name)) {
            return Some([(hidden, 2 * intermediate), (intermediate, hidden)][place]);
        }
        let is = |known: &str| {
            let (before, after) = known.split_once("{}").unwrap_or((known, ""));
            let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            number.and_then(|number| number.parse::<usize>().ok()).is_some_and(|number| number < sizes.count)
        };
        let place = names.modules.iter().find_map(|modules| modules.iter().position(|known| is(known)))?;
        Some([(hidden, intermediate), (hidden, intermediate), (intermediate, hidden)][place])
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
        if self.family.fused_by_head && self.kv_heads != self.heads {
            return Err(wrong("number of key-value heads", "is not that of the heads").into());
        }
        if self.ropes.iter().any(|rope| rope.dim == 0 || !rope.dim.is_multiple_of(2) || rope.dim > self.head_dim) {
            return Err(wrong("size of the rotary embedding", "is odd, zero or more than the head size").into());
        }
        let longrope_fits = |rope: &Rope| match &rope.scaling {
            Scaling::LongRope { short, long, .. } => short.len() == rope.dim / 2 && long.len() == rope.dim / 2,
            _ => true,
        };
        if !self.ropes.iter().all(longrope_fits) {
            return Err(wrong("rope_scaling", "has not one factor for each frequency").into());
        }
        if let Some(experts) = &self.experts {
            let sizes = [experts.count, experts.intermediate_size, experts.shared_intermediate_size];
            if sizes.iter().any(|&size| size > LARGEST_SIZE) || experts.per_token > experts.count {
                return Err(wrong("number of experts, or of those that a token goes to,", "is impossibly large").into());
            }
        }
        Ok(self)
    }
}

/// The sizes of a mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertSizes {
    pub count: usize,
    /// How many experts a token goes to.
    pub per_token: usize,
    pub intermediate_size: usize,
    /// Of the expert that every token goes to; 0 without one.
    pub shared_intermediate_size: usize,
    /// The weights of a token's experts are made to sum to 1.
    pub normalises: bool,
    pub sparse_layers: BTreeSet<usize>,
}

/// The activation of the MLP, or of its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// GELU by the error function, and its approximation by tanh.
    Gelu,
    GeluTanh,
    Relu,
    ReluSquared,
}

impl Activation {
    /// By the names of transformers (`activations.py`).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            "relu2" => Some(Self::ReluSquared),
            _ => None,
        }
    }

    pub fn apply(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::ReluSquared => x.relu()?.sqr(),
        }
    }
}

/// How an MLP's gate and its other values come together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    By(Activation),
    /// gpt-oss: g·sigmoid(α·g)·(u + 1), with g cut off above `limit` and u on both sides.
    Clamped {
        alpha: f64,
        limit: f64,
    },
}

impl Gating {
    pub fn apply(self, gate: &Tensor, up: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::By(Activation::Silu) if gate.device().is_cpu() => gate.apply_op2_no_bwd(up, &SiluTimes),
            Self::By(activation) => activation.apply(gate)? * up,
            Self::Clamped { alpha, limit } => {
                let gate = gate.minimum(limit)?;
                let up = up.clamp(-limit, limit)?;
                (&gate * sigmoid(&(&gate * alpha)?)?)? * (up + 1.0)?
            }
        }
    }

    /// As [`apply`](Self::apply) without a gate.
    pub fn activate(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::By(activation) => activation.apply(x),
            Self::Clamped { .. } => self.apply(x, &x.zeros_like()?),
        }
    }
}

/// SiLU(gate) · up in one go: two passes over memory less than one operation after the other.
struct SiluTimes;

impl CustomOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu-times"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (Some((gate_start, gate_end)), Some((up_start, up_end))) =
            (gate_layout.contiguous_offsets(), up_layout.contiguous_offsets())
        else {
            candle_core::bail!("gate and up are not contiguous")
        };
        let mut gated = gate.as_slice::<f32>()?[gate_start..gate_end].to_vec();
        silu_times(&mut gated, &up.as_slice::<f32>()?[up_start..up_end]);
        Ok((CpuStorage::F32(gated), gate_layout.shape().clone()))
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
