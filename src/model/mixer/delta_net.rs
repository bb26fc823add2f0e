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
        let rates = weights.parameter(Role::DeltaRate)?.exp()?.neg()?;
        let own = Parameters { filters, rates, biases: weights.parameter(Role::DeltaBias)? };
        Ok(Self { weights, modules: Modules::load(weights, Role::is_of_mixer)?, sizes, own })
    }

    fn project(&self, x: &Tensor) -> TensorResult<Projected> {
        let steps = self.modules.linear(Role::DeltaDecay, x)?.broadcast_add(&self.own.biases)?;
        Ok(Projected {
            inputs: self.modules.linear(Role::DeltaInput, x)?,
            decays: softplus(&steps)?.broadcast_mul(&self.own.rates)?,
            writes: sigmoid(&self.modules.linear(Role::DeltaWrite, x)?)?,
        })
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
        let projected = self.project(x)?;
        let is_tracked = projected.inputs.track_op() || projected.decays.track_op() || projected.writes.track_op();
        let read = match is_tracked {
            true => delta_steps::run(self.sizes, &self.own, &projected, pass)?,
            false => self.run(&projected, pass, cache)?,
        };
        let (read, x) = match pass.narrowing_at(self.weights.index) {
            Some(narrowing) => (read.index_select(&narrowing.rows, 0)?, x.index_select(&narrowing.rows, 0)?),
            None => (read, x.clone()),
        };
        let gate = silu(&self.modules.linear(Role::DeltaGate, &x)?)?;
        let normed = self.modules.norm(Role::DeltaNorm, &read)?;
        self.modules.linear(Role::DeltaOut, &(normed * gate)?)
    }
}
