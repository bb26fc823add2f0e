//! The curve: the losses of all candidate boundaries, and of other profiles, with each base weight read once per pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::layers::{Keep, Layers};
use super::measurement::{Curve, Measurement, Point, Work};
use super::memory::Budget;
use super::prefix::KeptPrefix;
use super::profile::Profile;
use super::stream::{Evaluation, Stream};
use super::walk::{Tracker, Walk};
use super::{ComputeOptions, OnProgress};
use crate::adapter::Adapter;
use crate::error::{Result, SweepError};
use crate::model::{AdaptedModel, Outcome, Pass};
use crate::samples::Sample;
use crate::samples::batch::{self, Batch};

/// The boundaries at which something changes: 0, and each layer that the adapter has, plus one. The layers of the
/// model above the adapter's last give no candidates of their own: there is nothing to drop.
pub fn candidates(adapter: &Adapter) -> BTreeSet<usize> {
    std::iter::once(0).chain(adapter.layers().into_iter().map(|layer| layer + 1)).collect()
}

/// Evaluates all candidates of each adapter, of one base model, on `samples`: one curve for each.
pub fn sweep(
    models: &[&AdaptedModel],
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<Curve>> {
    let all: Vec<BTreeSet<usize>> = models.iter().map(|adapted| candidates(adapted.adapter())).collect();
    let mut sweep = Sweep::new(models, samples, vec![(0..samples.len()).collect()], options)?;
    let curves = sweep.run(0, &all, on_progress)?;
    Ok(curves.into_iter().zip(&sweep.work).map(|(points, &work)| Curve { points, work }).collect())
}

/// Evaluates profiles of an adapter on `samples`: as many of them at a time as the adapter has boundaries, so that they
/// need no more memory than the sweep over these.
pub fn profiles(
    adapted: &AdaptedModel,
    samples: &[Sample],
    profiles: Vec<Profile>,
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<Measurement>> {
    let (models, mut measured) = ([adapted], Vec::with_capacity(profiles.len()));
    for profiles in profiles.chunks(candidates(adapted.adapter()).len()) {
        let all = vec![(0..samples.len()).collect()];
        let mut sweep = Sweep::with_streams(profiles.len(), &models, samples, all, options)?;
        measured.append(&mut sweep.run_profiles(0, &[profiles.to_vec()], on_progress)?.remove(0));
    }
    Ok(measured)
}

/// The cost of evaluating all candidates of adapters of one base model.
pub fn exhaustive_work(models: &[&AdaptedModel], samples: &[Sample], options: &ComputeOptions) -> Result<Work> {
    let Some(layers) = models.first().map(|adapted| adapted.model().config.layers) else { return Ok(Work::default()) };
    let all: u64 = models.iter().map(|adapted| layer_passes(layers, &candidates(adapted.adapter()))).sum();
    // The base model's stream goes through once for all adapters that change nothing outside the layers.
    let sharing = models.iter().filter(|adapted| adapted.is_plain()).count().saturating_sub(1);
    let sweep = Sweep::new(models, samples, vec![(0..samples.len()).collect()], options)?;
    let batches = &sweep.parts[0].batches;
    let tokens: u64 = batches.iter().map(|batch| batch.tokens() as u64).sum();
    Ok(Work { passes: batches.len(), layer_tokens: (all - (sharing * layers) as u64) * tokens })
}

/// The number of layers that all streams of a token go through together.
pub fn layer_passes(layers: usize, candidates: &BTreeSet<usize>) -> u64 {
    let last = candidates.last().copied().unwrap_or(0);
    let forked: usize = candidates.iter().filter(|&&boundary| boundary < last).map(|boundary| layers - boundary).sum();
    (layers + forked) as u64
}

/// A sweep in parts: some of the boundaries on some of the samples at a time.
pub struct Sweep<'a> {
    models: &'a [&'a AdaptedModel<'a>],
    budget: Budget,
    layers: Layers<'a>,
    parts: Vec<Part>,
    /// The work done so far, by adapter.
    pub work: Vec<Work>,
}

/// Samples that are evaluated together.
struct Part {
    /// Their indices among all samples.
    samples: Vec<usize>,
    /// The answer tokens of each.
    tokens: Arc<[usize]>,
    batches: Vec<Batch>,
    /// By batch and adapter.
    prefixes: Vec<Vec<KeptPrefix>>,
}

impl<'a> Sweep<'a> {
    /// Lays out samples for sweeps over the boundaries of adapters. Each part is a list of indices of samples.
    pub fn new(
        models: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &ComputeOptions,
    ) -> Result<Self> {
        let streams = models.iter().map(|adapted| candidates(adapted.adapter()).len()).sum();
        Self::with_streams(streams, models, samples, parts, options)
    }

    /// As [`Sweep::new`], where at most `streams` streams go through the model side by side.
    pub fn with_streams(
        streams: usize,
        models: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &ComputeOptions,
    ) -> Result<Self> {
        let model = models.first().ok_or(SweepError::NoCommonBase)?.model();
        if models.iter().any(|other| !std::ptr::eq(other.model(), model)) {
            return Err(SweepError::NoCommonBase.into());
        }
        let mut budget = Budget::for_samples(model, streams, options.memory, samples)?;
        let tokens_per_pass = budget.tokens_per_pass();
        // Only with several parts are layers read again, and only then may a boundary come up after its prefix is computed.
        let keeps = parts.len() > 1;
        let mut lay_out = |indices: Vec<usize>| {
            let chosen: Vec<Sample> = indices.iter().map(|&index| samples[index].clone()).collect();
            let batches = batch::plan(&chosen, tokens_per_pass, model.shares_prefixes());
            let keeps = keeps && budget.keep_streams(batches.iter().map(Batch::tokens).sum());
            let boundaries =
                |adapted: &AdaptedModel| if keeps { candidates(adapted.adapter()) } else { BTreeSet::new() };
            let prefixes = |_| models.iter().map(|adapted| KeptPrefix::new(boundaries(adapted))).collect();
            let (tokens, prefixes) =
                (chosen.iter().map(Sample::answers).collect(), batches.iter().map(prefixes).collect());
            Part { samples: indices, tokens, batches, prefixes }
        };
        let parts = parts.into_iter().map(&mut lay_out).collect();
        // States come before layers: reading a layer again takes less time than computing its states again.
        let keep = if keeps && budget.keep_layers(model) { Keep::Base } else { Keep::Nothing };
        Ok(Self { models, budget, layers: Layers::new(models, keep), parts, work: vec![Work::default(); models.len()] })
    }

    /// Evaluates boundaries of each adapter on the samples of a part, whose order the losses have. An adapter without
    /// boundaries does not take part.
    pub fn run(
        &mut self,
        part: usize,
        boundaries: &[BTreeSet<usize>],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Point>>> {
        let layers = self.layers.count();
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

    /// As [`Sweep::run`], for profiles.
    fn run_profiles(
        &mut self,
        part: usize,
        profiles: &[Vec<Profile>],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Measurement>>> {
        let (models, model, count) = (self.models, self.models[0].model(), self.layers.count());
        let Part { samples, tokens, batches, prefixes } = &mut self.parts[part];
        let evaluations = evaluations(models, profiles);
        let cost = |(batch, prefixes): (&Batch, &Vec<KeptPrefix>)| -> Vec<u64> {
            let passes = evaluations.iter().zip(prefixes).map(|(own, prefix)| prefix.layer_passes(own));
            passes.map(|passes| passes * batch.tokens() as u64).collect()
        };
        let costs: Vec<Vec<u64>> = batches.iter().zip(&*prefixes).map(cost).collect();
        let mut tracker = Tracker::new(batches.len(), costs.iter().flatten().sum(), on_progress);
        let zero = Measurement::zero(tokens.clone());
        let mut measured: Vec<Vec<Measurement>> =
            profiles.iter().map(|profiles| vec![zero.clone(); profiles.len()]).collect();
        for (place, (batch, prefixes)) in batches.iter().zip(prefixes).enumerate() {
            tracker.start_pass(place);
            let pass = Pass::new(model, batch)?;
            let mut starting: BTreeMap<usize, Vec<Stream>> = BTreeMap::new();
            for (adapter, (own, prefix)) in evaluations.iter().zip(&mut *prefixes).enumerate() {
                for (layer, own, hidden) in prefix.start(own, || models[adapter].first_hidden(batch))? {
                    starting.entry(layer).or_default().push(Stream::new(&pass, adapter, own, hidden));
                }
            }
            let mut outcomes = Vec::new();
            let side_by_side = self.budget.streams_side_by_side(batch.tokens(), model.device());
            let walk = Walk { layers: &mut self.layers, side_by_side, tracker: &mut tracker };
            walk.run(starting, |layer, streams| {
                if layer == count {
                    outcomes = outcomes_of(streams, models)?;
                    return Ok(());
                }
                for stream in streams {
                    let adapter = stream.variant.adapter;
                    if !profiles[adapter].contains(&Profile::below(layer, count)) {
                        prefixes[adapter].keep(layer, stream);
                    }
                }
                Ok(())
            })?;
            for (evaluation, outcomes) in outcomes {
                if let Err(index) = add(&mut measured[evaluation.adapter][evaluation.index], batch, &outcomes) {
                    let (boundary, sample) = (evaluation.profile.top(), samples[index] + 1);
                    return Err(SweepError::NotFinite { boundary, sample }.into());
                }
            }
        }
        for (adapter, work) in self.work.iter_mut().enumerate().filter(|(adapter, _)| !profiles[*adapter].is_empty()) {
            *work += Work { passes: batches.len(), layer_tokens: costs.iter().map(|costs| costs[adapter]).sum() };
        }
        Ok(measured)
    }
}

/// The evaluations that go through the model as ones of each adapter. With the adapter in no layer, and nothing outside of
/// them, all adapters are the base model; the first such evaluation takes the others with it.
fn evaluations<'p>(models: &[&AdaptedModel], profiles: &'p [Vec<Profile>]) -> Vec<Vec<Evaluation<'p>>> {
    let mut evaluations: Vec<Vec<Evaluation>> = vec![Vec::new(); models.len()];
    let mut base: Vec<Evaluation> = Vec::new();
    for (adapter, profiles) in profiles.iter().enumerate() {
        for (index, profile) in profiles.iter().enumerate() {
            let is_base = models[adapter].is_plain() && profile.top() == 0;
            let own = if is_base { &mut base } else { &mut evaluations[adapter] };
            own.push(Evaluation { adapter, index, profile });
        }
    }
    if let Some(first) = base.first() {
        evaluations[first.adapter].append(&mut base);
    }
    evaluations
}

/// The outcomes of the answer tokens in streams behind the last layer, by adapter and profile. Adapters that change nothing
/// outside the layers share the head.
fn outcomes_of<'s>(streams: &[Stream<'s>], models: &[&AdaptedModel]) -> Result<Vec<(Evaluation<'s>, Vec<Outcome>)>> {
    let plain = models.iter().position(|adapted| adapted.is_plain());
    let mut by_head: BTreeMap<usize, Vec<&Stream>> = BTreeMap::new();
    for stream in streams {
        let adapter = stream.variant.adapter;
        let head = plain.filter(|_| models[adapter].is_plain()).unwrap_or(adapter);
        by_head.entry(head).or_default().push(stream);
    }
    let mut outcomes = Vec::new();
    for (head, streams) in by_head {
        let (adapted, batch) = (models[head], streams[0].pass.batch);
        let layers = adapted.model().config.layers;
        let rows = streams.iter().map(|stream| adapted.answer_rows(&stream.hidden, stream.pass, layers));
        for (stream, found) in streams.iter().zip(adapted.outcomes(&rows.collect::<Result<Vec<_>>>()?, batch)?) {
            outcomes.extend(stream.evaluations.iter().map(|&evaluation| (evaluation, found.clone())));
        }
    }
    outcomes.sort_by_key(|(evaluation, _)| (evaluation.adapter, evaluation.index));
    Ok(outcomes)
}

/// Adds the outcomes of a batch's answer tokens to a measurement. The error is the index of a sample whose loss is not finite.
fn add(measurement: &mut Measurement, batch: &Batch, outcomes: &[Outcome]) -> std::result::Result<(), usize> {
    for (sample, answers) in &batch.samples {
        let outcomes = &outcomes[answers.clone()];
        let loss: f64 = outcomes.iter().map(|outcome| outcome.loss).sum();
        if !loss.is_finite() {
            return Err(*sample);
        }
        measurement.losses[*sample] = loss;
        measurement.correct[*sample] = outcomes.iter().filter(|outcome| outcome.right).count();
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
