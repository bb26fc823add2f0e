//! One decoder layer: reading it, and running hidden states through it.

use std::collections::BTreeMap;

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::{rms_norm, silu};

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
    attention_norm: Tensor,
    mlp_norm: Tensor,
    linears: BTreeMap<Role, Linear>,
}

/// What stays the same for all layers of one pass.
pub struct Pass<'a> {
    pub batch: &'a Batch,
    /// The rotary table of the batch's tokens.
    pub rope: &'a RopeTable,
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
        Ok(Self {
            config,
            index,
            attention_norm: weights.weight(config, index, Role::AttentionNorm, device)?,
            mlp_norm: weights.weight(config, index, Role::MlpNorm, device)?,
            linears,
        })
    }

    /// Runs a stream's hidden states (tokens of the batch, hidden) through the layer, with the adapter's pairs of this
    /// layer or, without `lora`, as the base model does.
    pub fn forward(&self, hidden: &Tensor, pass: &Pass, lora: Option<&LayerLora>) -> TensorResult<Tensor> {
        let eps = self.config.norm_eps as f32;
        let family: &Family = self.config.family;
        let linear = |role: Role, x: &Tensor| {
            self.linears[&role].forward(x, lora.and_then(|lora| lora.get(family.module(role))))
        };

        // Attention: normalise, project, attend within each sample, project back, add.
        let x = rms_norm(hidden, &self.attention_norm, eps)?;
        let (q, k, v) = (linear(Role::Query, &x)?, linear(Role::Key, &x)?, linear(Role::Value, &x)?);
        let attended = attend(&q, &k, &v, pass, self.config, self.config.windows[self.index])?;
        let hidden = (hidden + linear(Role::AttentionOut, &attended)?)?;

        // MLP: normalise, gate, project back, add.
        let x = rms_norm(&hidden, &self.mlp_norm, eps)?;
        let gated = (silu(&linear(Role::Gate, &x)?)? * linear(Role::Up, &x)?)?;
        hidden + linear(Role::Down, &gated)?
    }
}
