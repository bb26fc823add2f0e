//! The sweep: the loss of every candidate boundary, with each base weight read once per pass.
//!
//! All candidates share the *prefix stream*, the hidden states with the adapter on in every layer so far. At layer `l`
//! candidate `l` forks from it, the prefix goes on with the adapter, and all forked streams go on without:
//!
//! ```text
//! layer        0        1        2        3
//! prefix   ──A──┬────A──┬────A──┬────A──▶ b = L      A: with the adapter
//!          │    │       │       └────o──▶ b = 3      o: base model only
//!          │    │       └────o───────o──▶ b = 2
//!          │    └────o───────o───────o──▶ b = 1
//!          └o────────o───────o───────o──▶ b = 0
//! ```
//!
//! The whole curve costs L + L(L + 1)/2 layer passes, half of what L + 1 full forwards cost. The streams go
//! through a layer side by side, one to a processor: what is too small to be shared out within a stream, the element-wise
//! work above all, then keeps every processor busy too.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::adapter::Adapter;
use crate::error::{Result, SweepError};
use crate::model::{AnswerRows, Ends, Expert, Layer, Model, Pass, Routed};
use crate::samples::Sample;
use crate::samples::batch::{self, Batch};

/// What the sweep is given besides model, adapter and samples.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bytes that streams, weights and intermediate values may take together.
    pub memory: u64,
    pub device: Device,
}

/// The losses of one boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The adapter is on in layers below this one.
    pub boundary: usize,
    /// Negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub per_sample: Vec<f64>,
}

/// The losses of all candidates, lowest boundary first.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub points: Vec<Point>,
    /// The answer tokens of each sample.
    pub answers: Vec<usize>,
    /// How much was computed.
    pub work: Work,
}

/// What a sweep cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// How often the base weights were read.
    pub passes: usize,
    /// Tokens times layers that went through the decoder.
    pub layer_tokens: u64,
}

/// A step of the sweep, for whoever watches. Returning `false` stops the sweep.
pub type Watch<'a> = &'a mut dyn FnMut(Step) -> bool;

/// How far the sweep is.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub pass: usize,
    pub passes: usize,
    pub layer: usize,
    /// Token passes through layers, done and in all.
    pub done: u64,
    pub total: u64,
}

/// The boundaries at which something changes: 0, and each layer that the adapter has, plus one. The layers of the
/// model above the adapter's last give no candidates of their own: nothing is there to drop.
pub fn candidates(adapter: &Adapter) -> BTreeSet<usize> {
    std::iter::once(0).chain(adapter.layers().into_iter().map(|layer| layer + 1)).collect()
}

/// Evaluates `candidates` of the model and the adapter that `ends` puts together, on `samples`.
pub fn sweep(
    ends: &Ends,
    samples: &[Sample],
    candidates: &BTreeSet<usize>,
    options: &Options,
    watch: Watch,
) -> Result<Curve> {
    let model = ends.model();
    let budget = Budget::new(model, candidates.len(), options.memory);
    let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
    let batches = batch::plan(samples, budget.tokens_per_pass(longest)?, model.shares_prefixes());
    let mut points: Vec<Point> =
        candidates.iter().map(|&boundary| Point { boundary, per_sample: vec![0.0; samples.len()] }).collect();
    let layer_passes = layer_passes(model.config.layers, candidates);
    let total = layer_passes * batches.iter().map(|batch| batch.tokens() as u64).sum::<u64>();
    let mut done = 0;
    for (pass, batch) in batches.iter().enumerate() {
        let mut step = |layer, tokens| {
            done += tokens;
            watch(Step { pass, passes: batches.len(), layer, done, total })
        };
        let losses = one_pass(ends, batch, candidates, &budget, &options.device, &mut step)?;
        for (point, losses) in points.iter_mut().zip(losses) {
            for (sample, answers) in &batch.samples {
                let loss: f64 = losses[answers.clone()].iter().sum();
                if !loss.is_finite() {
                    return Err(SweepError::NotFinite { boundary: point.boundary, sample: *sample + 1 }.into());
                }
                point.per_sample[*sample] = loss;
            }
        }
    }
    let answers = samples.iter().map(Sample::answers).collect();
    Ok(Curve { points, answers, work: Work { passes: batches.len(), layer_tokens: total } })
}

/// The layer tokens of an exhaustive sweep, to tell what a search saved.
pub fn exhaustive_work(ends: &Ends, samples: &[Sample], options: &Options) -> Result<u64> {
    let (model, candidates) = (ends.model(), candidates(ends.adapter()));
    let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
    let tokens = Budget::new(model, candidates.len(), options.memory).tokens_per_pass(longest)?;
    let batches = batch::plan(samples, tokens, model.shares_prefixes());
    Ok(layer_passes(model.config.layers, &candidates) * batches.iter().map(|batch| batch.tokens() as u64).sum::<u64>())
}

/// How many layers all streams of a token go through together.
pub fn layer_passes(layers: usize, candidates: &BTreeSet<usize>) -> u64 {
    let last = candidates.last().copied().unwrap_or(0);
    let forked: usize = candidates.iter().filter(|&&boundary| boundary < last).map(|boundary| layers - boundary).sum();
    (layers + forked) as u64
}

/// The hidden states of a batch for one candidate.
struct Stream {
    boundary: usize,
    /// (tokens of the batch, hidden)
    hidden: Tensor,
    /// What waits for the experts of the layer that the stream is in.
    routed: Option<Routed>,
}

impl Stream {
    fn new(boundary: usize, hidden: Tensor) -> Self {
        Self { boundary, hidden, routed: None }
    }

    /// Goes through a layer, but for its experts.
    fn advance(&mut self, layer: &BothLayers, pass: &Pass) -> candle_core::Result<()> {
        (self.hidden, self.routed) = layer.of(self).forward(&self.hidden, pass)?;
        Ok(())
    }

    /// Adds what one of the layer's experts, as it is and as the adapter makes it, makes of the tokens that go to it.
    fn add_expert(&mut self, layer: &BothLayers, number: usize, experts: &[Expert; 2]) -> candle_core::Result<()> {
        if let Some(routed) = self.routed.as_mut().filter(|routed| routed.goes_to(number)) {
            let (of_layer, expert) = match layer.index < self.boundary {
                true => (&layer.adapted, &experts[1]),
                false => (&layer.base, &experts[0]),
            };
            self.hidden = of_layer.add_expert(&self.hidden, routed, number, expert)?;
        }
        Ok(())
    }
}

/// A layer as it is in the base model, and as the adapter makes it.
struct BothLayers<'a> {
    base: Layer<'a>,
    adapted: Layer<'a>,
    index: usize,
}

impl<'a> BothLayers<'a> {
    fn load(model: &'a Model, adapter: &Adapter, index: usize, device: &Device) -> Result<Self> {
        let base = model.layer(index)?;
        let adapted = base.adapted(adapter.load_layer(index, device)?)?;
        Ok(Self { base, adapted, index })
    }

    fn of(&self, stream: &Stream) -> &Layer<'a> {
        if self.index < stream.boundary { &self.adapted } else { &self.base }
    }

    /// Takes all streams through the layer's experts: each is read once, and only if a token goes to it.
    fn add_experts(&self, streams: &mut [&mut Stream], device: &Device) -> Result<()> {
        for number in 0..self.base.expert_count() {
            let is_hit = |stream: &&mut Stream| stream.routed.as_ref().is_some_and(|routed| routed.goes_to(number));
            if !streams.iter().any(is_hit) {
                continue;
            }
            let expert = self.base.expert(number)?;
            let adapted = self.adapted.adapted_expert(number, &expert)?;
            let experts = [expert, adapted];
            for_each_stream(streams, device, |stream| stream.add_expert(self, number, &experts))?;
        }
        for stream in streams.iter_mut() {
            if let Some(mut routed) = stream.routed.take() {
                stream.hidden = routed.settle(&stream.hidden)?;
            }
        }
        Ok(())
    }
}

/// Works on every stream: side by side on a processor, one after the other elsewhere.
///
/// Elsewhere all work has to come from the thread that loads the layers: on CUDA candle gives each thread a queue of its
/// own, and what one queue computes need not be there when another one reads it.
fn for_each_stream(
    streams: &mut [&mut Stream],
    device: &Device,
    work: impl Fn(&mut Stream) -> candle_core::Result<()> + Sync,
) -> Result<()> {
    match device {
        Device::Cpu => streams.par_iter_mut().try_for_each(|stream| work(stream))?,
        _ => streams.iter_mut().try_for_each(|stream| work(stream))?,
    }
    Ok(())
}

/// The losses of a batch's answer tokens for every candidate: `[candidate][answer]`.
fn one_pass(
    ends: &Ends,
    batch: &Batch,
    candidates: &BTreeSet<usize>,
    budget: &Budget,
    device: &Device,
    step: &mut dyn FnMut(usize, u64) -> bool,
) -> Result<Vec<Vec<f64>>> {
    let model = ends.model();
    let pass = Pass::new(model, batch)?;
    let side_by_side = budget.streams_side_by_side(batch.tokens(), device);
    let last = candidates.last().copied().unwrap_or(0);
    let mut prefix = Stream::new(last, ends.first_hidden(batch)?);
    let mut forks: Vec<Stream> = Vec::new();
    for index in 0..model.config.layers {
        if candidates.contains(&index) && index < last {
            forks.push(Stream::new(index, prefix.hidden.clone()));
        }
        let layer = BothLayers::load(model, ends.adapter(), index, device)?;
        let mut streams: Vec<&mut Stream> = forks.iter_mut().chain([&mut prefix]).collect();
        for group in streams.chunks_mut(side_by_side) {
            for_each_stream(group, device, |stream| stream.advance(&layer, &pass))?;
            if !step(index, (group.len() * batch.tokens()) as u64) {
                return Err(SweepError::Interrupted.into());
            }
        }
        layer.add_experts(&mut streams, device)?;
    }
    forks.push(prefix);
    debug_assert!(forks.iter().map(|stream| stream.boundary).eq(candidates.iter().copied()));
    let rows =
        forks.into_iter().map(|stream| ends.answer_rows(&stream.hidden, &pass)).collect::<Result<Vec<AnswerRows>>>()?;
    ends.answer_losses(&rows, batch)
}

/// How the memory is shared out.
struct Budget {
    memory: u64,
    /// One layer in f32, with its stored form while it is widened.
    weights: u64,
    /// Per token: the hidden states of all streams.
    stream_bytes: u64,
    /// Per token of a stream that goes through a layer: the values between its two hidden states.
    inner_bytes: u64,
}

/// Tokens of a pass beyond which reading the weights costs nothing against using them.
const PASS_TOKENS: usize = 2048;

impl Budget {
    fn new(model: &Model, streams: usize, memory: u64) -> Self {
        const F32: u64 = size_of::<f32>() as u64;
        let config = &model.config;
        // With experts each stream keeps what they are given and, for a while, up to twice as much that they add.
        let states = if config.experts.is_some() { 4 * streams } else { streams };
        let widths = 4 * config.intermediate_size + 6 * config.hidden_size + 4 * config.query_size();
        Self {
            memory,
            weights: 2 * model.layer_bytes(),
            stream_bytes: (states * config.hidden_size) as u64 * F32,
            inner_bytes: widths as u64 * F32,
        }
    }

    /// The tokens that one pass may hold, given the longest sample, which has to fit.
    fn tokens_per_pass(&self, longest: usize) -> Result<usize> {
        let needed = |tokens: usize| self.weights + tokens as u64 * (self.stream_bytes + self.inner_bytes);
        if needed(longest) > self.memory {
            return Err(SweepError::Memory { needed: needed(longest), budget: self.memory }.into());
        }
        let fitting = (self.memory - self.weights) / (self.stream_bytes + self.inner_bytes);
        Ok(usize::try_from(fitting).unwrap_or(PASS_TOKENS).min(PASS_TOKENS).max(longest))
    }

    /// The streams that go through a layer at the same time.
    fn streams_side_by_side(&self, tokens: usize, device: &Device) -> usize {
        if !device.is_cpu() {
            return 1;
        }
        let spare = self.memory.saturating_sub(self.weights + tokens as u64 * self.stream_bytes);
        let fitting = spare / (tokens as u64 * self.inner_bytes).max(1);
        rayon::current_num_threads().min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_costs_half_of_full_forwards() {
        let all: BTreeSet<usize> = (0..=30).collect();
        assert_eq!(layer_passes(30, &all), 30 + 30 * 31 / 2);
        assert_eq!(layer_passes(30, &BTreeSet::from([0, 30])), 60);
        assert_eq!(layer_passes(30, &BTreeSet::from([30])), 30);
    }
}
