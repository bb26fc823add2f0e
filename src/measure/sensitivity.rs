//! What the loss makes of each module of an adapter, to second order, by one backward pass.
//!
//! A pair adds B·A·x to the outputs of a module. For a token let h = A·x, the *inner values*, and d the gradient of the loss by them,
//! which is Bᵀ times that by the outputs. If the pair's B·A becomes B·M·A for a rank × rank matrix M, then to first order the loss of
//! a token changes by dᵀ·(M − 1)·h. The sums of h·hᵀ and d·dᵀ over tokens, two small matrices for each module, give the expected
//! square of that for any M where h and d are independent (as in K-FAC, arXiv 1503.05671); the sum of d·hᵀ gives its mean.
//!
//! Layers are read twice: on the way forward their inputs are kept, and on the way back each computes its outputs again, with their
//! derivatives (gradient checkpointing, arXiv 1604.06174).

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Tensor, Var};
use nalgebra::DMatrix;

use super::layers::{Keep, Layers};
use super::memory::Budget;
use super::profile::Profile;
use super::stream::{Member, Stream};
use super::walk::{Tracker, Walk};
use super::{Activity, ComputeOptions, OnProgress, Work};
use crate::error::{ComputeError, Result};
use crate::kernel::gradient::Probe;
use crate::model::{AdaptedModel, Layer, Pass};
use crate::samples::Sample;
use crate::samples::packing;

/// What a backward pass costs beside a forward pass: the outputs are computed again, and the products of their gradients take as long.
const BACKWARD_PASSES: u64 = 2;

/// What one module's inner values and their gradients come to, summed over tokens. All matrices are (rank, rank).
#[derive(Debug, Clone)]
pub struct Sensitivity {
    /// Σ h·hᵀ
    pub values: DMatrix<f64>,
    /// Σ d·dᵀ, in squared nats.
    pub gradients: DMatrix<f64>,
    /// Σ d·hᵀ, in nats: the derivative of the loss by M.
    pub slope: DMatrix<f64>,
    /// Rows with a gradient, that is, tokens that an answer depends on.
    pub tokens: usize,
}

impl Sensitivity {
    fn zero(rank: usize) -> Self {
        let zero = || DMatrix::zeros(rank, rank);
        Self { values: zero(), gradients: zero(), slope: zero(), tokens: 0 }
    }

    /// Adds the rows of `values` and of their `gradients`, both (rows, rank).
    fn add(&mut self, values: &Tensor, gradients: &Tensor) -> candle_core::Result<()> {
        let wide = |tensor: &Tensor| -> candle_core::Result<DMatrix<f64>> {
            let (rows, rank) = tensor.dims2()?;
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            Ok(DMatrix::from_row_iterator(rows, rank, values.into_iter().map(f64::from)))
        };
        let (h, d) = (wide(values)?, wide(gradients)?);
        self.values += h.tr_mul(&h);
        self.gradients += d.tr_mul(&d);
        self.slope += d.tr_mul(&h);
        self.tokens += d.row_iter().filter(|row| row.iter().any(|&value| value != 0.0)).count();
        Ok(())
    }
}

/// The sensitivities of all pairs in the layers of an adapter, by the names of their modules inside a layer, layer by layer; with what
/// it cost. The adapter is on in all layers.
pub fn sensitivities(
    adapted: &AdaptedModel,
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<(Vec<BTreeMap<String, Sensitivity>>, Work)> {
    let (model, models) = (adapted.model(), [adapted]);
    let count = model.config.layers;
    let budget = Budget::for_gradients(model, options.memory, samples)?;
    let batches = packing::plan(samples, budget.tokens_per_pass(), model.shares_prefixes());
    let tokens: usize = batches.iter().map(|batch| batch.tokens()).sum();
    let work = Work { passes: batches.len(), layer_tokens: (1 + BACKWARD_PASSES) * (count * tokens) as u64 };
    let mut tracker = Tracker::new(Activity::Sensitivities, work.passes, work.layer_tokens, on_progress);
    let mut found = vec![BTreeMap::new(); count];
    let whole = [Profile::below(count, count)];
    for (index, batch) in batches.iter().enumerate() {
        tracker.start_pass(index);
        let pass = Pass::differentiable(model, batch)?;
        let member = Member { adapter: 0, index: 0, profile: &whole[0] };
        let stream = Stream::new(&pass, 0, vec![member], adapted.first_hidden(batch)?);
        let mut layers = Layers::new(&models, Keep::Nothing);
        let walk = Walk { layers: &mut layers, side_by_side: 1, tracker: &mut tracker };
        let mut inputs: Vec<Tensor> = Vec::new();
        walk.run(BTreeMap::from([(0, vec![stream])]), |_, streams| {
            inputs.extend(streams.iter().map(|stream| stream.hidden.clone()));
            Ok(())
        })?;
        let Some(last) = inputs.pop() else { continue };
        let mut gradient = adapted.loss_gradient(&last, &pass)?;
        drop(last);
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            gradient = go_back(adapted, (layer, &input), &gradient, &pass, &mut found[layer])?;
            tracker.advance(layer, BACKWARD_PASSES * batch.tokens() as u64)?;
        }
    }
    Ok((found, work))
}

/// The gradient of a layer's input from that of its output. Adds what its modules see.
fn go_back(
    adapted: &AdaptedModel,
    (index, input): (usize, &Tensor),
    gradient: &Tensor,
    pass: &Pass,
    found: &mut BTreeMap<String, Sensitivity>,
) -> Result<Tensor> {
    let (model, adapter) = (adapted.model(), adapted.adapter());
    let mut changes = adapter.load_layer(index, model.device())?;
    let mut probes: Vec<(String, Arc<Probe>)> = Vec::new();
    for (module, delta) in &mut changes.deltas {
        let probe = Arc::new(Probe::default());
        delta.observe(probe.clone());
        probes.push((module.clone(), probe));
    }
    let layer = model.layer(index)?.adapted(changes)?;
    let input = Var::from_tensor(input)?;
    let output = through(&layer, &input, pass)?;
    let gradients =
        (output * gradient).and_then(|sum| sum.sum_all()?.backward()).map_err(ComputeError::TensorOperation)?;
    for (module, probe) in probes {
        for seen in probe.take() {
            let rank = seen.values.dim(1)?;
            let sensitivity = found.entry(module.clone()).or_insert_with(|| Sensitivity::zero(rank));
            sensitivity.add(&seen.values, &seen.gradients)?;
        }
    }
    Ok(gradients.get(&input).cloned().unwrap_or(input.zeros_like()?))
}

/// Hidden states (rows, hidden) behind a layer, experts included. Which experts a token goes to counts as fixed.
fn through(layer: &Layer, input: &Tensor, pass: &Pass) -> Result<Tensor> {
    let (mut hidden, routed) = layer.forward(input, pass, None)?;
    let Some(mut routed) = routed else { return Ok(hidden) };
    for number in (0..layer.expert_count()).filter(|&number| routed.uses(number)).collect::<Vec<_>>() {
        let expert = layer.adapted_expert(number, &layer.expert(number)?)?;
        hidden = layer.add_expert(&hidden, &mut routed, number, &expert)?;
    }
    Ok(layer.behind_experts(&hidden, routed)?)
}
