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
//!
//! Several adapters of one base model go through together: they share each weight, and the stream of b = 0.

mod budget;
mod effect;
pub mod generate;
pub(crate) mod layers;
pub mod lens;
mod measurement;
mod profile;
pub(crate) mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::Device;

use crate::adapter::Adapter;
use crate::error::{ComputeError, Result};
use crate::model::{AdaptedModel, TokenScore};
use crate::samples::Sample;
use crate::samples::packing::{self, Batch};
use budget::Budget;
pub use effect::effects;
use layers::BaseLayers;
pub use measurement::{Curve, Measurement, Point, Work, mean};
pub use profile::{Profile, Strength};
use walk::{Trail, Walk};

/// What the sweep is given besides model, adapters and samples.
#[derive(Debug, Clone)]
pub struct ComputeOptions {
    /// The bytes that streams, weights and intermediate values may take together.
    pub memory: u64,
    pub device: Device,
}

/// A step of the sweep, for whoever watches. Returning `false` stops the sweep.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// How far the sweep is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
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

/// Evaluates all candidates of each adapter, of one base model, on `samples`: one curve for each.
pub fn sweep(
    ends: &[&AdaptedModel],
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<Curve>> {
    let all: Vec<BTreeSet<usize>> = ends.iter().map(|ends| candidates(ends.adapter())).collect();
    let mut sweep = Sweep::new(ends, samples, vec![(0..samples.len()).collect()], options)?;
    let curves = sweep.run(0, &all, on_progress)?;
    Ok(curves.into_iter().zip(&sweep.work).map(|(points, &work)| Curve { points, work }).collect())
}

/// Evaluates profiles of an adapter on `samples`: as many of them at a time as the adapter has boundaries, so that they need no
/// more memory than the sweep over these.
pub fn profiles(
    ends: &AdaptedModel,
    samples: &[Sample],
    profiles: Vec<Profile>,
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<Measurement>> {
    let (ends, mut measured) = ([ends], Vec::with_capacity(profiles.len()));
    for profiles in profiles.chunks(candidates(ends[0].adapter()).len()) {
        let all = vec![(0..samples.len()).collect()];
        let mut sweep = Sweep::of_streams(profiles.len(), &ends, samples, all, options)?;
        measured.append(&mut sweep.run_profiles(0, &[profiles.to_vec()], on_progress)?.remove(0));
    }
    Ok(measured)
}

/// What evaluating all candidates of adapters of one base model takes.
pub fn exhaustive_work(ends: &[&AdaptedModel], samples: &[Sample], options: &ComputeOptions) -> Result<Work> {
    let Some(layers) = ends.first().map(|ends| ends.model().config.layers) else { return Ok(Work::default()) };
    let all: u64 = ends.iter().map(|ends| layer_passes(layers, &candidates(ends.adapter()))).sum();
    // The base model's stream goes through once for all that change nothing outside the layers.
    let sharing = ends.iter().filter(|ends| ends.is_plain()).count().saturating_sub(1);
    let sweep = Sweep::new(ends, samples, vec![(0..samples.len()).collect()], options)?;
    let batches = &sweep.parts[0].batches;
    let tokens: u64 = batches.iter().map(|batch| batch.tokens() as u64).sum();
    Ok(Work { passes: batches.len(), layer_tokens: (all - (sharing * layers) as u64) * tokens })
}

/// How many layers all streams of a token go through together.
pub fn layer_passes(layers: usize, candidates: &BTreeSet<usize>) -> u64 {
    let last = candidates.last().copied().unwrap_or(0);
    let forked: usize = candidates.iter().filter(|&&boundary| boundary < last).map(|boundary| layers - boundary).sum();
    (layers + forked) as u64
}

/// A sweep in parts: some of the boundaries on some of the samples at a time.
pub struct Sweep<'a> {
    ends: &'a [&'a AdaptedModel<'a>],
    options: &'a ComputeOptions,
    budget: Budget,
    layers: BaseLayers<'a>,
    parts: Vec<Part>,
    /// The work done so far, by adapter.
    pub work: Vec<Work>,
}

/// Samples that are evaluated together.
struct Part {
    /// Their places among all.
    samples: Vec<usize>,
    /// The answer tokens of each.
    tokens: Arc<[usize]>,
    batches: Vec<Batch>,
    /// By batch and adapter, what was kept of the prefix stream.
    trails: Vec<Vec<Trail>>,
}

impl<'a> Sweep<'a> {
    /// Lays out samples, in parts of which each is a list of their places, for sweeps over the boundaries of the adapters of
    /// `ends`.
    pub fn new(
        ends: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &'a ComputeOptions,
    ) -> Result<Self> {
        let streams = ends.iter().map(|ends| candidates(ends.adapter()).len()).sum();
        Self::of_streams(streams, ends, samples, parts, options)
    }

    /// As [`Sweep::new`], where at most `streams` evaluations go through the model side by side.
    pub fn of_streams(
        streams: usize,
        ends: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &'a ComputeOptions,
    ) -> Result<Self> {
        let model = ends.first().ok_or(ComputeError::NoCommonBase)?.model();
        if ends.iter().any(|other| !std::ptr::eq(other.model(), model)) {
            return Err(ComputeError::NoCommonBase.into());
        }
        let mut budget = Budget::new(model, streams, options.memory);
        let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
        let tokens = budget.tokens_per_pass(longest)?;
        // Only with several parts is a layer read again, and does a boundary come late and find the prefix stream gone by.
        let keeps = parts.len() > 1;
        let mut lay_out = |places: Vec<usize>| {
            let chosen: Vec<Sample> = places.iter().map(|&place| samples[place].clone()).collect();
            let batches = packing::plan(&chosen, tokens, model.shares_prefixes());
            let all_tokens = batches.iter().map(Batch::tokens).sum();
            let keeps = keeps && budget.keep_streams(all_tokens, longest);
            let wanted = |ends: &AdaptedModel| if keeps { candidates(ends.adapter()) } else { BTreeSet::new() };
            let trails = batches.iter().map(|_| ends.iter().map(|ends| Trail::new(wanted(ends))).collect()).collect();
            Part { samples: places, tokens: chosen.iter().map(Sample::answers).collect(), batches, trails }
        };
        let parts = parts.into_iter().map(&mut lay_out).collect();
        // Reading a layer again takes less time than computing it again.
        let layers = BaseLayers::new(model, keeps && budget.keep_layers(model, longest));
        Ok(Self { ends, options, budget, layers, parts, work: vec![Work::default(); ends.len()] })
    }

    /// Evaluates boundaries of each adapter, none of those that do not take part, on the samples of a part, in whose
    /// order the losses are.
    pub fn run(
        &mut self,
        part: usize,
        boundaries: &[BTreeSet<usize>],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Point>>> {
        let layers = self.ends[0].model().config.layers;
        let profiles_of = |boundaries: &BTreeSet<usize>| -> Vec<Profile> {
            boundaries.iter().map(|&boundary| Profile::below(boundary, layers)).collect()
        };
        let profiles: Vec<Vec<Profile>> = boundaries.iter().map(profiles_of).collect();
        let measured = self.run_profiles(part, &profiles, on_progress)?;
        let points = |(boundaries, measured): (&BTreeSet<usize>, Vec<Measurement>)| {
            let point = |(&boundary, measurement)| Point { boundary, measurement };
            boundaries.iter().zip(measured).map(point).collect()
        };
        Ok(boundaries.iter().zip(measured).map(points).collect())
    }

    /// Evaluates profiles of each adapter, none of those that do not take part, on the samples of a part.
    fn run_profiles(
        &mut self,
        part: usize,
        profiles: &[Vec<Profile>],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Measurement>>> {
        let Part { samples, tokens, batches, trails } = &mut self.parts[part];
        let empty = Measurement::zero(tokens.clone());
        let mut measured: Vec<Vec<Measurement>> =
            profiles.iter().map(|profiles| vec![empty.clone(); profiles.len()]).collect();
        let walk = |batch| Walk {
            ends: self.ends,
            profiles,
            batch,
            side_by_side: self.budget.streams_side_by_side(batch.tokens(), &self.options.device),
        };
        let costs: Vec<Vec<u64>> =
            batches.iter().zip(&*trails).map(|(batch, trails)| walk(batch).costs(trails)).collect();
        let (passes, total) = (batches.len(), costs.iter().flatten().sum());
        let mut done = 0;
        for (pass, (batch, trails)) in batches.iter().zip(trails).enumerate() {
            let mut step = |layer, tokens| {
                done += tokens;
                on_progress(Progress { pass, passes, layer, done, total })
            };
            let outcomes = walk(batch).outcomes(&mut self.layers, trails, &mut step)?;
            for (adapter, outcomes) in outcomes.into_iter().enumerate() {
                for (profile, outcomes) in outcomes.iter().enumerate() {
                    if let Err(place) = add(&mut measured[adapter][profile], batch, outcomes) {
                        let (boundary, sample) = (profiles[adapter][profile].top(), samples[place] + 1);
                        let (base, samples) = (self.ends[0].model().path.clone(), Default::default());
                        return Err(ComputeError::NotFinite { base, samples, boundary, sample }.into());
                    }
                }
            }
        }
        for (adapter, work) in self.work.iter_mut().enumerate().filter(|(adapter, _)| !profiles[*adapter].is_empty()) {
            work.passes += passes;
            work.layer_tokens += costs.iter().map(|costs| costs[adapter]).sum::<u64>();
        }
        Ok(measured)
    }
}

/// Adds the scores of a batch's answer tokens to a measurement. The error is the index of a sample whose loss is not finite.
fn add(measurement: &mut Measurement, batch: &Batch, outcomes: &[TokenScore]) -> std::result::Result<(), usize> {
    for (sample, answers) in &batch.samples {
        let outcomes = &outcomes[answers.clone()];
        let loss: f64 = outcomes.iter().map(|outcome| outcome.loss).sum();
        if !loss.is_finite() {
            return Err(*sample);
        }
        measurement.losses[*sample] = loss;
        measurement.correct[*sample] = outcomes.iter().filter(|outcome| outcome.correct).count();
    }
    Ok(())
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
