//! One decoder layer: reading it, and running hidden states through it.

use std::collections::BTreeMap;

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::rms_norm;

use super::attention::attend;
use super::family::{Family, Role};
use super::weights::Weights;
use super::{ModelConfig, RopeTable};
use crate::adapter::{LayerLora, Lora};
use crate::error::Result;
use crate::samples::batch::Batch;

/// A layer in memory, in f32.
pub struct Layer<'a> {
    config: &'a ModelConfig,
    index: usize,
    /// The norms that the family has: (size).
    norms: BTreeMap<Role, Tensor>,
    linears: BTreeMap<Role, Linear>,
}

/// What stays the same for all layers of one pass.
pub struct Pass<'a> {
    pub batch: &'a Batch,
    /// The rotary tables of the batch's tokens, one for each of the model's rotary embeddings.
    pub ropes: &'a [RopeTable],
}

struct Linear {
    /// (outputs, inputs)
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// x·Wᵀ + bias, and what `lora` adds: (rows, inputs) → (rows, outputs).
    fn forward(&self, x: &Tensor, lora: Option<&Lora>) -> TensorResult<Tensor> {
        let mut y = x.matmul(&self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match lora {
            Some(lora) => y + lora.forward(x)?,
            None => Ok(y),
        }
    }
}

impl<'a> Layer<'a> {
    pub(super) fn load(weights: &Weights, config: &'a ModelConfig, index: usize, device: &Device) -> Result<Self> {
        let mut linears = BTreeMap::new();
        for role in Role::LINEAR {
            let weight = weights.weight(config, index, role, device)?;
            let bias = weights.bias(config, index, role, device)?;
            linears.insert(role, Linear { weight, bias });
        }
        let mut norms = BTreeMap::new();
        for role in config.family.roles().filter(|role| !Role::LINEAR.contains(role)) {
            norms.insert(role, weights.norm(config, index, role, device)?);
        }
        Ok(Self { config, index, norms, linears })
    }

    /// Runs a stream's hidden states (tokens of the batch, hidden) through the layer, with the adapter's pairs of this
    /// layer or, without `lora`, as the base model does.
    pub fn forward(&self, hidden: &Tensor, pass: &Pass, lora: Option<&LayerLora>) -> TensorResult<Tensor> {
        let family: &Family = self.config.family;
        let linear = |role: Role, x: &Tensor| {
            self.linears[&role].forward(x, lora.and_then(|lora| lora.get(family.module(role))))
        };

        // Attention: normalise, project, attend within each sample, project back, normalise, add.
        let x = self.norm(Role::AttentionNorm, hidden)?;
        let q = self.norm(Role::QueryNorm, &linear(Role::Query, &x)?)?;
        let k = self.norm(Role::KeyNorm, &linear(Role::Key, &x)?)?;
        let attended = attend(&q, &k, &linear(Role::Value, &x)?, pass, self.config, self.index)?;
        let added = self.norm(Role::AttentionPostNorm, &linear(Role::AttentionOut, &attended)?)?;
        let hidden = (hidden + scaled(added, self.config.scales.residual)?)?;

        // MLP: normalise, gate, project back, normalise, add.
        let x = self.norm(Role::MlpNorm, &hidden)?;
        let gated = (self.config.activation.apply(&linear(Role::Gate, &x)?)? * linear(Role::Up, &x)?)?;
        let added = self.norm(Role::MlpPostNorm, &linear(Role::Down, &gated)?)?;
        hidden + scaled(added, self.config.scales.residual)?
    }

    /// The norm of a role over as many values as it has weights, all of a row or those of one head; nothing where the
    /// family does without.
    fn norm(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        let Some(weight) = self.norms.get(&role) else { return Ok(x.clone()) };
        let rows = x.reshape(((), weight.elem_count()))?;
        rms_norm(&rows, weight, self.config.norm_eps as f32)?.reshape(x.shape())
    }
}

/// x · scale, for nothing if that is x.
pub(super) fn scaled(x: Tensor, scale: f64) -> TensorResult<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}

/// c·tanh(x / c), or x without c.
pub(super) fn softcapped(x: Tensor, cap: Option<f64>) -> TensorResult<Tensor> {
    match cap {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}
