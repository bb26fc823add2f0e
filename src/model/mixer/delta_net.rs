//! Gated delta net: linear attention with a convolution before it and a gate behind it, as in Qwen 3 Next and Qwen 3.5.
//!
//! A sequence is run token by token, behind the state of the prefix that it shares with others, or of the tokens that its cache has
//! seen. A pass with derivatives does the same in tensor operations (`delta_steps.rs`).

use std::sync::Arc;

use candle_core::{DType, Result as TensorResult, Tensor};
use candle_nn::ops::{sigmoid, silu};
use rayon::prelude::*;

use super::delta_steps::{self, Parameters, Projected};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::attention::Span;
use crate::kernel::delta_rule::{self, DeltaSizes, DeltaState, DeltaTokens};
use crate::model::Pass;
use crate::model::family::{PromptAttention, Role};
use crate::model::modules::Modules;
use crate::model::pass;
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
        // softplus, which is the number itself where its exponential would overflow
        let soft = (steps.relu()? + (steps.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        Ok(Projected {
            inputs: self.modules.linear(Role::DeltaInput, x)?,
            decays: soft.broadcast_mul(&self.own.rates)?,
            writes: sigmoid(&self.modules.linear(Role::DeltaWrite, x)?)?,
        })
    }

    /// (rows, values), by the fast code: sequences side by side, each behind its state.
    fn run(&self, projected: &Projected, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let values = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (inputs, decays, writes) =
            (values(&projected.inputs)?, values(&projected.decays)?, values(&projected.writes)?);
        let filters = values(&self.own.filters)?;
        let (channels, heads) = (self.sizes.channels(), self.sizes.value_heads);
        let tokens = |rows: &std::ops::Range<usize>| DeltaTokens {
            inputs: &inputs[rows.start * channels..rows.end * channels],
            decays: &decays[rows.start * heads..rows.end * heads],
            writes: &writes[rows.start * heads..rows.end * heads],
        };
        let rows = inputs.len() / channels;
        let mut read = vec![0.0; rows * self.sizes.values()];
        let mut put = |rows: &std::ops::Range<usize>, own: &[f32]| {
            read[rows.start * self.sizes.values()..rows.end * self.sizes.values()].copy_from_slice(own);
        };
        match (cache, &pass.cached) {
            (Some(cache), Some(sequences)) => {
                for Span { queries, keys, .. } in sequences {
                    if queries.len() == keys.len() {
                        cache.states.remove(&keys.start);
                    }
                    let state = cache.states.entry(keys.start).or_insert_with(|| DeltaState::new(self.sizes));
                    put(queries, &delta_rule::run(self.sizes, &filters, tokens(queries), state));
                }
            }
            _ => {
                let mut state = DeltaState::new(self.sizes);
                let prefix = 0..pass.batch.prefix;
                put(&prefix, &delta_rule::run(self.sizes, &filters, tokens(&prefix), &mut state));
                let sequences: Vec<_> = pass.batch.sequences.iter().map(|sequence| sequence.rows.clone()).collect();
                let own: Vec<Vec<f32>> = sequences
                    .par_iter()
                    .map(|rows| delta_rule::run(self.sizes, &filters, tokens(rows), &mut state.clone()))
                    .collect();
                sequences.iter().zip(&own).for_each(|(rows, own)| put(rows, own));
            }
        }
        Tensor::from_vec(read, (rows, self.sizes.values()), projected.inputs.device())
    }
}

impl<'a> Mixer<'a> for DeltaNet<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        Ok(Arc::new(Self { weights: self.weights, modules, sizes: self.sizes, own: self.own.clone() }))
    }

    fn forward(&self, x: &Tensor, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let projected = self.project(x)?;
        let is_tracked = projected.inputs.track_op() || projected.decays.track_op() || projected.writes.track_op();
        let read = match is_tracked {
            true => delta_steps::run(
                self.sizes,
                &self.own,
                &projected,
                &pass::all_rows(pass.batch, PromptAttention::Causal),
            )?,
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
