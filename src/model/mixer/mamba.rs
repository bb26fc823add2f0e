//! Mamba-2: a state-space recurrence with a convolution before it and a gate behind it, as in Granite 4, Bamba, Nemotron-H and
//! Falcon-H1.
//!
//! A sequence is run token by token, behind the state of the prefix that it shares with others, or of the tokens that its cache has
//! seen. A pass with derivatives does the same in tensor operations (`mamba_steps.rs`).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};
use candle_nn::ops::silu;

use super::mamba_steps::{self, Parameters, Projected};
use super::sequences::{self, numbers};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::recurrent::{Filters, RecurrentState};
use crate::kernel::state_space::{self, Shared, SpaceTokens};
use crate::model::Pass;
use crate::model::carried::Carried;
use crate::model::config::MambaConfig;
use crate::model::family::{MixerKind, Role};
use crate::model::modules::Modules;
use crate::model::scaling::scaled;
use crate::model::weights::LayerWeights;

/// The Mamba of one layer.
pub struct Mamba<'a> {
    weights: LayerWeights<'a>,
    modules: Modules,
    config: MambaConfig,
    own: Parameters,
    /// What the parts of the input projection are multiplied by, (outputs), if that is not 1.
    part_scales: Option<Tensor>,
}

impl<'a> Mamba<'a> {
    pub fn load(weights: LayerWeights<'a>, config: MambaConfig) -> Result<Self> {
        let sizes = config.sizes;
        let own = Parameters {
            filters: weights.parameter(Role::MambaConvolution)?.reshape((sizes.channels(), sizes.taps))?,
            filter_bias: weights.bias(Role::MambaConvolution)?,
            step_biases: weights.parameter(Role::MambaBias)?,
            rates: weights.rates(Role::MambaRate)?,
            skips: weights.parameter(Role::MambaSkip)?,
        };
        let part_scales = match config.part_scales() {
            Some(scales) => Some(Tensor::new(scales, own.rates.device())?),
            None => None,
        };
        let modules = Modules::load(weights, |role| role.mixer() == Some(MixerKind::Mamba))?;
        Ok(Self { weights, modules, config, own, part_scales })
    }

    /// The gate of each value, and what the recurrence takes.
    fn project(&self, x: &Tensor) -> TensorResult<(Tensor, Projected)> {
        let sizes = self.config.sizes;
        let all = self.modules.linear(Role::MambaInput, &scaled(x.clone(), self.config.input_scale)?)?;
        let all = match &self.part_scales {
            Some(scales) => all.broadcast_mul(scales)?,
            None => all,
        };
        let part = |start: usize, size: usize| all.narrow(1, start, size)?.contiguous();
        let (values, channels) = (sizes.values(), sizes.channels());
        let steps = part(values + channels, sizes.heads)?.broadcast_add(&self.own.step_biases)?;
        Ok((part(0, values)?, Projected { inputs: part(values, channels)?, steps }))
    }

    /// (rows, values), by the fast code.
    fn run(&self, projected: &Projected, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let (sizes, own) = (self.config.sizes, &self.own);
        let (inputs, steps) = (numbers(&projected.inputs)?, numbers(&projected.steps)?);
        let (filters, rates, skips) = (numbers(&own.filters)?, numbers(&own.rates)?, numbers(&own.skips)?);
        let bias = own.filter_bias.as_ref().map(numbers).transpose()?;
        let filters = Filters { values: &filters, bias: bias.as_deref(), taps: sizes.taps };
        let limits = self.config.limits.map(|limit| limit as f32);
        let shared = Shared { filters, rates: &rates, skips: &skips, limits };
        let step = |rows: &Range<usize>, state: &mut RecurrentState| {
            let tokens = SpaceTokens {
                inputs: &inputs[rows.start * sizes.channels()..rows.end * sizes.channels()],
                steps: &steps[rows.start * sizes.heads..rows.end * sizes.heads],
            };
            state_space::run(sizes, shared, tokens, state)
        };
        sequences::run(pass, cache, sizes.state(), sizes.values(), projected.inputs.device(), &step)
    }

    /// What was read behind its gate and its norm, if there is one.
    fn gated(&self, read: &Tensor, gate: &Tensor) -> TensorResult<Tensor> {
        let gate = silu(gate)?;
        match self.config.gate_first {
            true => self.modules.norm(Role::MambaNorm, &(read * gate)?),
            false => self.modules.norm(Role::MambaNorm, read)? * gate,
        }
    }
}

impl<'a> Mixer<'a> for Mamba<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        let (weights, config) = (self.weights, self.config);
        Ok(Arc::new(Self { weights, modules, config, own: self.own.clone(), part_scales: self.part_scales.clone() }))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        _: &mut Carried,
    ) -> TensorResult<Tensor> {
        let (gate, projected) = self.project(x)?;
        let read = match projected.inputs.track_op() {
            true => mamba_steps::run(&self.config, &self.own, &projected, pass)?,
            false => self.run(&projected, pass, cache)?,
        };
        let narrowed = |x: &Tensor| pass.narrowed(x, self.weights.index);
        let gated = self.gated(&narrowed(&read)?, &narrowed(&gate)?)?;
        scaled(self.modules.linear(Role::MambaOut, &gated)?, self.config.output_scale)
    }
}
