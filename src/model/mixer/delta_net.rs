//! Gated delta net: linear attention with a convolution before it and a gate behind it, as in Qwen 3 Next and Qwen 3.5.
//!
//! A sequence is run token by token, behind the state of the prefix that it shares with others, or of the tokens that its cache has
//! seen. A pass with derivatives does the same in tensor operations (`delta_steps.rs`).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};
use candle_nn::ops::{sigmoid, silu};

use super::delta_steps::{self, Parameters, Projected};
use super::sequences::{self, numbers, softplus};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::delta_rule::{self, DeltaSizes, DeltaTokens};
use crate::kernel::recurrent::RecurrentState;
use crate::model::Pass;
use crate::model::carried::Carried;
use crate::model::family::Role;
use crate::model::modules::Modules;
use crate::model::scaling::scaled;
use crate::model::weights::LayerWeights;

/// The gated delta net of one layer.
pub struct DeltaNet<'a> {
    weights: LayerWeights<'a>,
    modules: Modules,
    sizes: DeltaSizes,
    own: Parameters,
}

impl<'a> DeltaNet<'a> {
    pub fn load(weights: LayerWeights<'a>, sizes: DeltaSizes) -> Result<Self> {
        let filters = weights.parameter(Role::Convolution)?.reshape((sizes.channels(), sizes.taps))?;
        let rates = weights.rates(Role::DeltaRate)?;
        let own = Parameters { filters, rates, biases: weights.parameter(Role::DeltaBias)? };
        Ok(Self { weights, modules: Modules::load(weights, Role::is_of_mixer)?, sizes, own })
    }

    /// What goes into the recurrence, and the gate of what is read if it comes from the same matrix.
    fn project(&self, x: &Tensor) -> TensorResult<(Projected, Option<Tensor>)> {
        let ([inputs, writes, decays], gate) = match self.modules.has(Role::DeltaInputGate) {
            true => self.project_together(x)?,
            false => {
                let [writes, decays] = [Role::DeltaWrite, Role::DeltaDecay].map(|role| self.modules.linear(role, x));
                ([self.inputs(x)?, writes?, decays?], None)
            }
        };
        let decays = softplus(&decays.broadcast_add(&self.own.biases)?)?.broadcast_mul(&self.own.rates)?;
        let writes = scaled(sigmoid(&writes)?, self.weights.config.scales.delta_write)?;
        Ok((Projected { inputs, decays, writes }, gate))
    }

    /// Queries, keys and values from one matrix or three.
    fn inputs(&self, x: &Tensor) -> TensorResult<Tensor> {
        if self.modules.has(Role::DeltaInput) {
            return self.modules.linear(Role::DeltaInput, x);
        }
        let parts = [Role::DeltaQuery, Role::DeltaKey, Role::DeltaValue].map(|role| self.modules.linear(role, x));
        Tensor::cat(&parts.into_iter().collect::<TensorResult<Vec<_>>>()?, 1)
    }

    /// As Qwen 3 Next has them: one matrix for queries, keys, values and gate, and one for what is written and how memory decays, both
    /// key head by key head.
    fn project_together(&self, x: &Tensor) -> TensorResult<([Tensor; 3], Option<Tensor>)> {
        let DeltaSizes { key_heads, value_heads, key_size, value_size, .. } = self.sizes;
        let shared = value_heads / key_heads;
        let split = |role: Role, sizes: &[usize]| -> TensorResult<Vec<Tensor>> {
            let by_head = self.modules.linear(role, x)?.reshape(((), key_heads, sizes.iter().sum::<usize>()))?;
            let mut start = 0;
            let part = |&size: &usize| {
                start += size;
                by_head.narrow(2, start - size, size)?.contiguous()?.reshape(((), key_heads * size))
            };
            sizes.iter().map(part).collect()
        };
        let values = shared * value_size;
        let mut parts = split(Role::DeltaInputGate, &[key_size, key_size, values, values])?;
        let gate = parts.pop();
        let mut steps = split(Role::DeltaWriteDecay, &[shared, shared])?.into_iter();
        let (Some(writes), Some(decays)) = (steps.next(), steps.next()) else { candle_core::bail!("two parts") };
        Ok(([Tensor::cat(&parts, 1)?, writes, decays], gate))
    }

    /// (rows, values), by the fast code.
    fn run(&self, projected: &Projected, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let (inputs, decays) = (numbers(&projected.inputs)?, numbers(&projected.decays)?);
        let (writes, filters) = (numbers(&projected.writes)?, numbers(&self.own.filters)?);
        let (channels, heads) = (self.sizes.channels(), self.sizes.value_heads);
        let step = |rows: &Range<usize>, state: &mut RecurrentState| {
            let tokens = DeltaTokens {
                inputs: &inputs[rows.start * channels..rows.end * channels],
                decays: &decays[rows.start * heads..rows.end * heads],
                writes: &writes[rows.start * heads..rows.end * heads],
            };
            delta_rule::run(self.sizes, &filters, tokens, state)
        };
        let device = projected.inputs.device();
        sequences::run(pass, cache, self.sizes.state(), self.sizes.values(), device, &step)
    }
}

impl<'a> Mixer<'a> for DeltaNet<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        Ok(Arc::new(Self { weights: self.weights, modules, sizes: self.sizes, own: self.own.clone() }))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        _: &mut Carried,
    ) -> TensorResult<Tensor> {
        let (projected, gate) = self.project(x)?;
        let is_tracked = projected.inputs.track_op() || projected.decays.track_op() || projected.writes.track_op();
        let read = match is_tracked {
            true => delta_steps::run(self.sizes, &self.own, &projected, pass)?,
            false => self.run(&projected, pass, cache)?,
        };
        let narrowed = |x: &Tensor| pass.narrowed(x, self.weights.index);
        let read = narrowed(&read)?;
        let gate = match gate {
            Some(gate) => narrowed(&gate)?,
            None => self.modules.linear(Role::DeltaGate, &narrowed(x)?)?,
        };
        let gate = silu(&gate)?;
        let normed = self.modules.norm(Role::DeltaNorm, &read)?;
        self.modules.linear(Role::DeltaOut, &(normed * gate)?)
    }
}
