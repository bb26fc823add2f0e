//! A short convolution between two gates, as in LFM2: a token sees itself and a few tokens before it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::sequences::{self, TensorState, numbers};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::recurrent::{self, ConvolutionSizes, Filters, RecurrentState};
use crate::model::Pass;
use crate::model::carried::Carried;
use crate::model::family::Role;
use crate::model::modules::Modules;
use crate::model::weights::LayerWeights;

/// The short convolution of one layer.
pub struct ShortConvolution<'a> {
    weights: LayerWeights<'a>,
    modules: Modules,
    sizes: ConvolutionSizes,
    /// (channels, taps)
    filters: Tensor,
    /// (channels)
    bias: Option<Tensor>,
}

impl<'a> ShortConvolution<'a> {
    pub fn load(weights: LayerWeights<'a>, sizes: ConvolutionSizes) -> Result<Self> {
        let filters = weights.parameter(Role::ShortConvolution)?.reshape((sizes.channels, sizes.taps))?;
        let bias = weights.parameter_bias(Role::ShortConvolution)?;
        Ok(Self { weights, modules: Modules::load(weights, Role::is_of_mixer)?, sizes, filters, bias })
    }

    /// The convolution of (rows, channels) by the fast code.
    fn run(&self, inputs: &Tensor, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let (channels, values, filters) = (self.sizes.channels, numbers(inputs)?, numbers(&self.filters)?);
        let bias = self.bias.as_ref().map(numbers).transpose()?;
        let filters = Filters { values: &filters, bias: bias.as_deref(), taps: self.sizes.taps };
        let step = |rows: &Range<usize>, state: &mut RecurrentState| {
            recurrent::convolve(filters, &values[rows.start * channels..rows.end * channels], &mut state.inputs)
        };
        sequences::run(pass, cache, self.sizes.state(), channels, inputs.device(), &step)
    }

    /// The same in tensor operations, which have derivatives.
    fn run_plain(&self, inputs: &Tensor, pass: &Pass) -> TensorResult<Tensor> {
        let zeros = |rows: usize| Tensor::zeros((rows, self.sizes.channels), inputs.dtype(), inputs.device());
        let start = TensorState { inputs: zeros(self.sizes.taps - 1)?, memories: zeros(0)? };
        sequences::run_plain(pass, &start, |rows, state| {
            let own = inputs.narrow(0, rows.start, rows.len())?;
            let (mixed, inputs) = sequences::convolve(&self.filters, self.bias.as_ref(), &own, &state.inputs)?;
            Ok((mixed, TensorState { inputs, ..state }))
        })
    }
}

impl<'a> Mixer<'a> for ShortConvolution<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        let (filters, bias) = (self.filters.clone(), self.bias.clone());
        Ok(Arc::new(Self { weights: self.weights, modules, sizes: self.sizes, filters, bias }))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        _: &mut Carried,
    ) -> TensorResult<Tensor> {
        let channels = self.sizes.channels;
        let projected = self.modules.linear(Role::ShortInput, x)?;
        let part = |place: usize| projected.narrow(1, place * channels, channels);
        let inputs = (part(0)? * part(2)?)?;
        let mixed = if inputs.track_op() { self.run_plain(&inputs, pass)? } else { self.run(&inputs, pass, cache)? };
        let gated = (part(1)? * mixed)?;
        self.modules.linear(Role::ShortOut, &pass.narrowed(&gated, self.weights.index)?)
    }
}
