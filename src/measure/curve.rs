//! The curve: the losses of all candidate boundaries, and of other profiles, with each base weight read once per pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::layers::{Keep, Layers};
use super::measurement::{Curve, Measurement, Point, SampleScore, SampleSize, Work};
use super::memory::Budget;
use super::prefix::KeptPrefix;
use super::profile::Profile;
use super::side::DropSide;
use super::stream::{self, Member, Stream};
use super::walk::{Tracker, Walk};
use super::{Activity, ComputeOptions, OnProgress};
use crate::adapter::Adapter;
use crate::error::{ComputeError, Result};
use crate::model::{AdaptedModel, AnswerRows, Pass, TokenScore};
use crate::samples::Sample;
use crate::samples::packing::{self, AnswerToken, Batch};

/// The boundaries at which something changes: 0, and each layer that the adapter has, plus one. The layers of the
/// model above the adapter's last give no candidates of their own: there is nothing to drop.
pub fn candidates(adapter: &Adapter) -> BTreeSet<usize> {
    DropSide::Above.points(adapter)
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
    let all: Vec<usize> = (0..samples.len()).collect();
    Ok(profiles_on(adapted, (samples, &all), profiles, options, on_progress)?.0)
}

/// As [`profiles`], on the samples with the indices `chosen`, in their order; with what it cost.
pub fn profiles_on(
    adapted: &AdaptedModel,
    (samples, chosen): (&[Sample], &[usize]),
    profiles: Vec<Profile>,
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<(Vec<Measurement>, Work)> {
    let (models, mut measured) = ([adapted], Vec::with_capacity(profiles.len()));
    let mut work = Work::default();
    for profiles in profiles.chunks(candidates(adapted.adapter()).len()) {
        let mut sweep = Sweep::with_streams(profiles.len(), &models, samples, vec![chosen.to_vec()], options)?;
        measured.append(&mut sweep.run_profiles(0, &[profiles.to_vec()], on_progress)?.remove(0));
        work += sweep.work[0];
    }
    Ok((measured, work))
}

/// The cost of evaluating all candidates of adapters of one base model.
pub fn exhaustive_work(models: &[&AdaptedModel], samples: &[Sample], options: &ComputeOptions) -> Result<Work> {
    if models.is_empty() {
        return Ok(Work::default());
    }
    let sweep = Sweep::new(models, samples, vec![(0..samples.len()).collect()], options)?;
    let layers = sweep.layers.count();
    let all: Vec<_> = models.iter().map(|adapted| profiles_below(&candidates(adapted.adapter()), layers)).collect();
    let passes = |own| stream::layer_passes(BTreeMap::from([(0, own)]), layers);
    let passes: u64 = members(models, &all).into_iter().map(passes).sum();
    let batches = &sweep.parts[0].batches;
    let tokens: u64 = batches.iter().map(|batch| batch.tokens() as u64).sum();
    Ok(Work { passes: batches.len(), layer_tokens: passes * tokens })
}

/// The number of layers that the streams of all candidates go through together.
pub fn layer_passes(layers: usize, candidates: &BTreeSet<usize>) -> u64 {
    let profiles = profiles_below(candidates, layers);
    stream::layer_passes(BTreeMap::from([(0, Member::of_profiles(0, &profiles).collect())]), layers)
}

fn profiles_below(boundaries: &BTreeSet<usize>, layers: usize) -> Vec<Profile> {
    boundaries.iter().map(|&boundary| Profile::below(boundary, layers)).collect()
}

/// A sweep in parts: some of the points of a curve on some of the samples at a time.
pub struct Sweep<'a> {
    models: &'a [&'a AdaptedModel<'a>],
    side: DropSide,
    budget: Budget,
    layers: Layers<'a>,
    parts: Vec<SampleGroup>,
    /// The work done so far, by adapter.
    pub work: Vec<Work>,
}

/// Samples that are evaluated together.
struct SampleGroup {
    /// Their indices among all samples.
    samples: Vec<usize>,
    sizes: Arc<[SampleSize]>,
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
        Self::along(DropSide::Above, models, samples, parts, options)
    }

    /// As [`Sweep::new`], over the points of other curves.
    pub fn along(
        side: DropSide,
        models: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &ComputeOptions,
    ) -> Result<Self> {
        let streams = models.iter().map(|adapted| side.points(adapted.adapter()).len()).sum();
        Self::lay_out((side, streams), models, samples, parts, options)
    }

    /// As [`Sweep::new`], for at most `streams` streams side by side.
    pub fn with_streams(
        streams: usize,
        models: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &ComputeOptions,
    ) -> Result<Self> {
        Self::lay_out((DropSide::Above, streams), models, samples, parts, options)
    }

    fn lay_out(
        (side, streams): (DropSide, usize),
        models: &'a [&'a AdaptedModel<'a>],
        samples: &[Sample],
        parts: Vec<Vec<usize>>,
        options: &ComputeOptions,
    ) -> Result<Self> {
        let model = models.first().ok_or(ComputeError::NoCommonBase)?.model();
        if models.iter().any(|other| !std::ptr::eq(other.model(), model)) {
            return Err(ComputeError::NoCommonBase.into());
        }
        let mut budget = Budget::for_samples(model, streams, options.memory, samples)?;
        let tokens_per_pass = budget.tokens_per_pass();
        // Only with several parts are layers read again, and only then may a point come up after its prefix is computed.
        let keeps = parts.len() > 1;
        let lay_out = |samples_of_part: Vec<usize>| {
            let chosen: Vec<Sample> = samples_of_part.iter().map(|&index| samples[index].clone()).collect();
            let batches = packing::plan(&chosen, tokens_per_pass, model.shares_prefixes());
            let sizes = SampleSize::of_all(&chosen);
            SampleGroup { samples: samples_of_part, sizes, batches, prefixes: Vec::new() }
        };
        let mut parts: Vec<SampleGroup> = parts.into_iter().map(lay_out).collect();
        let passes = || parts.iter().flat_map(|part| &part.batches).map(Batch::tokens);
        budget.plan(passes().max().unwrap_or(0));
        let kept = if keeps { budget.keep_states(passes().sum()) / models.len() } else { 0 };
        let trunk = side.trunk(model.config.layers);
        let prefix = |adapted: &&AdaptedModel| {
            let points = side.points(adapted.adapter()).into_iter();
            let forks = points.map(|point| side.profile(point, model.config.layers).shared_layers(&trunk));
            // Those that leave the trunk last save most; one that never leaves it has no state, and one at its root needs none.
            let forks: BTreeSet<usize> = forks.filter(|fork| (1..model.config.layers).contains(fork)).collect();
            KeptPrefix::new(trunk.clone(), forks.into_iter().rev().take(kept).collect())
        };
        for part in &mut parts {
            part.prefixes = part.batches.iter().map(|_| models.iter().map(prefix).collect()).collect();
        }
        // States are kept rather than layers: reading a layer again takes less time than computing its output again.
        let keep = if keeps && budget.keep_layers(model) { Keep::Base } else { Keep::Nothing };
        let work = vec![Work::default(); models.len()];
        Ok(Self { models, side, budget, layers: Layers::new(models, keep), parts, work })
    }

    /// Evaluates points of each adapter's curve on the samples of a part, whose order the losses have. An adapter without
    /// points does not take part.
    pub fn run(
        &mut self,
        part: usize,
        boundaries: &[BTreeSet<usize>],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Point>>> {
        let (side, layers) = (self.side, self.layers.count());
        let of_points = |points: &BTreeSet<usize>| points.iter().map(|&point| side.profile(point, layers)).collect();
        let profiles: Vec<Vec<Profile>> = boundaries.iter().map(of_points).collect();
        for prefixes in &mut self.parts[part].prefixes {
            prefixes.iter_mut().zip(&profiles).for_each(|(prefix, points)| prefix.forget(points));
        }
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
        let SampleGroup { samples, sizes, batches, prefixes } = &mut self.parts[part];
        let members = members(models, profiles);
        let cost = |(batch, prefixes): (&Batch, &Vec<KeptPrefix>)| -> Vec<u64> {
            let passes = |(own, prefix): (&Vec<_>, &KeptPrefix)| stream::layer_passes(prefix.starts(own), count);
            members.iter().zip(prefixes).map(passes).map(|passes| passes * batch.tokens() as u64).collect()
        };
        let costs: Vec<Vec<u64>> = batches.iter().zip(&*prefixes).map(cost).collect();
        let mut tracker = Tracker::new(Activity::Losses, batches.len(), costs.iter().flatten().sum(), on_progress);
        let zero = |profiles: &Vec<_>| vec![Measurement::zero(sizes.clone()); profiles.len()];
        let mut measured: Vec<Vec<Measurement>> = profiles.iter().map(zero).collect();
        for (index, (batch, prefixes)) in batches.iter().zip(prefixes).enumerate() {
            tracker.start_pass(index);
            let pass = Pass::new(model, batch)?;
            let side_by_side = self.budget.streams_side_by_side(batch.tokens(), model.device());
            let walk = Walk { layers: &mut self.layers, side_by_side, tracker: &mut tracker };
            for (member, scores) in evaluate(&members, models, &pass, prefixes, walk)? {
                let measurement = &mut measured[member.adapter][member.index];
                for (sample, answers) in &batch.samples {
                    let score = summed(&scores[answers.clone()], &batch.answers[answers.clone()]);
                    measurement.scores[*sample] = score;
                    if !score.loss.is_finite() {
                        return Err(ComputeError::NotFinite {
                            base: model.path.clone(),
                            samples: PathBuf::new(),
                            boundary: member.profile.boundary(),
                            sample: samples[*sample] + 1,
                        }
                        .into());
                    }
                }
            }
        }
        for (adapter, work) in self.work.iter_mut().enumerate().filter(|(adapter, _)| !profiles[*adapter].is_empty()) {
            *work += Work { passes: batches.len(), layer_tokens: costs.iter().map(|costs| costs[adapter]).sum() };
        }
        Ok(measured)
    }
}

/// The members of each adapter's streams. A profile of an adapter that acts in no layer, and changes nothing outside the
/// layers, is the base model: all of these share a stream of the first adapter that has one.
fn members<'p>(models: &[&AdaptedModel], profiles: &'p [Vec<Profile>]) -> Vec<Vec<Member<'p>>> {
    let is_base = |one: &Member| models[one.adapter].is_plain() && one.profile.boundary() == 0;
    let all = profiles.iter().enumerate().map(|(adapter, profiles)| Member::of_profiles(adapter, profiles));
    let (base, mut own): (Vec<Vec<_>>, Vec<Vec<_>>) = all.map(|members| members.partition(is_base)).unzip();
    let base = base.concat();
    if let Some(first) = base.first() {
        own[first.adapter].extend(&base);
    }
    own
}

/// The scores of a batch's answer tokens for all members, in the order of adapters and profiles.
fn evaluate<'p>(
    members: &[Vec<Member<'p>>],
    models: &[&AdaptedModel],
    pass: &'p Pass<'p>,
    prefixes: &mut [KeptPrefix],
    walk: Walk,
) -> Result<Vec<(Member<'p>, Vec<TokenScore>)>> {
    let count = walk.layers.count();
    let mut starting: BTreeMap<usize, Vec<Stream>> = BTreeMap::new();
    for (adapter, (own, prefix)) in members.iter().zip(&mut *prefixes).enumerate() {
        for (layer, own) in prefix.starts(own) {
            let hidden = prefix.take(layer).map_or_else(|| models[adapter].first_hidden(pass.batch), Ok)?;
            starting.entry(layer).or_default().push(Stream::new(pass, adapter, own, hidden));
        }
    }
    // By head: adapters that change nothing outside the layers share the head of the first of them.
    let mut rows: BTreeMap<usize, (Vec<_>, Vec<AnswerRows>)> = BTreeMap::new();
    let plain = models.iter().position(|adapted| adapted.is_plain());
    walk.run(starting, |layers, streams| {
        for stream in streams {
            let adapter = stream.variant.adapter;
            if layers < count {
                prefixes[adapter].keep(layers, stream);
                continue;
            }
            let head = plain.filter(|_| models[adapter].is_plain()).unwrap_or(adapter);
            let (streams, rows) = rows.entry(head).or_default();
            streams.push(stream.members.clone());
            rows.push(models[head].answer_rows(&stream.hidden, pass, layers)?);
        }
        Ok(())
    })?;
    let mut scores = Vec::new();
    for (head, (streams, rows)) in rows {
        for (stream, found) in streams.into_iter().zip(models[head].score_answers(&rows, pass.batch)?) {
            scores.extend(stream.into_iter().map(|member| (member, found.clone())));
        }
    }
    scores.sort_by_key(|(member, _)| (member.adapter, member.index));
    Ok(scores)
}

/// The score of a sample from those of its answer tokens.
fn summed(scores: &[TokenScore], answers: &[AnswerToken]) -> SampleScore {
    let mut sample = SampleScore::default();
    for (score, answer) in scores.iter().zip(answers) {
        sample.loss += score.loss;
        sample.probability += score.probability();
        sample.correct += usize::from(score.correct);
        if answer.is_end {
            sample.end_loss += score.loss;
            sample.end_correct += usize::from(score.correct);
        }
    }
    sample
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
