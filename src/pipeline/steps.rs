//! The steps after the cut: each reads the adapter that the one before wrote, and what it writes is evaluated as it is.
//!
//! The adapters lie in a temporary folder. The last one is copied to the output, byte for byte, like any adapter that is kept
//! whole.

use std::collections::BTreeSet;

use super::Request;
use crate::adapter::Adapter;
use crate::choice::compare::{Comparison, exact_match, gain_kept, mean, token_accuracy};
use crate::error::Result;
use crate::files::{Scratch, Staging};
use crate::measure::{self, OnProgress, Scores, Sweep};
use crate::model::{AdaptedModel, Model};
use crate::report::{StepDone, StepLosses};
use crate::rewrite::steps::{SharedStep, StepDetails};
use crate::rewrite::{Cut, DeltaChange, RankSummary};
use crate::samples::Sample;

/// The adapters after the cut and after each step.
pub struct Chain {
    made: Vec<Made>,
    /// Goes away with its adapters.
    _folder: Scratch,
}

struct Made {
    /// `None` for the cut.
    step: Option<SharedStep>,
    adapter: Adapter,
}

/// Samples, and what is known of them.
pub struct Samples<'a> {
    pub samples: &'a [Sample],
    /// The answer tokens of each.
    pub answers: &'a [usize],
    pub base: &'a Scores,
    /// With the adapter after the cut.
    pub cut: &'a Scores,
    pub whole: &'a Scores,
}

impl Chain {
    /// Cuts `original` and takes the steps.
    pub fn make(original: &Adapter, cut: &Cut, steps: &[SharedStep]) -> Result<Self> {
        let folder = Scratch::new()?;
        let add = |name: &str, write: &dyn Fn(&Staging) -> Result<()>| -> Result<Adapter> {
            let path = folder.path().join(name);
            let staging = Staging::beside(&path)?;
            write(&staging).map_err(|error| error.about(&original.path))?;
            staging.publish()?;
            Adapter::open(&path, Some(&original.stack))
        };
        let mut made = vec![Made { step: None, adapter: add("layers", &|staging| cut.write(staging))? }];
        for step in steps {
            let before = &made[made.len() - 1].adapter;
            let adapter = add(step.flag().name, &|staging| step.write(before, original, staging))?;
            made.push(Made { step: Some(step.clone()), adapter });
        }
        let chain = Self { made, _folder: folder };
        for warning in steps.iter().filter_map(|step| step.warning(chain.last())) {
            tracing::warn!("{warning}");
        }
        Ok(chain)
    }

    /// The adapter after all steps.
    pub fn last(&self) -> &Adapter {
        &self.made[self.made.len() - 1].adapter
    }

    /// What each step made, without losses.
    pub fn describe(&self) -> Result<Vec<StepDone>> {
        let cut = &self.made[0].adapter;
        let describe = |(place, made): (usize, &Made)| -> Result<StepDone> {
            let before = &self.made[place.saturating_sub(1)].adapter;
            let (change, details) = match &made.step {
                Some(step) => (DeltaChange::between(cut, &made.adapter)?, step.details(before, &made.adapter)?),
                None => (None, StepDetails::default()),
            };
            Ok(StepDone {
                step: made.step.as_ref().map_or("layers", |step| step.flag().name).into(),
                setting: made.step.as_ref().and_then(|step| step.setting()),
                tensors: made.adapter.tensors().count(),
                bytes: made.adapter.bytes_below(usize::MAX),
                ranks: RankSummary::of(&made.adapter),
                change,
                details,
                losses: None,
                held_out: None,
            })
        };
        self.made.iter().enumerate().map(describe).collect()
    }

    /// As [`describe`](Self::describe), with the losses on the samples that chose, the first of `sets`, and on held-out ones,
    /// if there is a second.
    pub fn evaluate(
        &self,
        model: &Model,
        sets: &[Samples],
        request: &Request,
        on_progress: OnProgress,
    ) -> Result<Vec<StepDone>> {
        let steps = self.made[1..].iter().map(|made| AdaptedModel::load(model, &made.adapter));
        let ends = steps.collect::<Result<Vec<_>>>()?;
        let losses = sets.iter().map(|set| losses(&ends, set, request, &mut *on_progress));
        let mut losses = losses.collect::<Result<Vec<_>>>()?.into_iter();
        let mut described = self.describe()?;
        for (step, losses) in described.iter_mut().zip(losses.next().into_iter().flatten()) {
            step.losses = Some(losses);
        }
        for (step, losses) in described.iter_mut().zip(losses.next().into_iter().flatten()) {
            step.held_out = Some(losses);
        }
        Ok(described)
    }
}

/// The losses after the cut and with each adapter of `ends`, all its layers on.
fn losses(ends: &[AdaptedModel], set: &Samples, request: &Request, on_progress: OnProgress) -> Result<Vec<StepLosses>> {
    let whole_of = |ends: &AdaptedModel| BTreeSet::from_iter(measure::candidates(ends.adapter()).pop_last());
    let boundaries: Vec<BTreeSet<usize>> = ends.iter().map(whole_of).collect();
    let all = vec![(0..set.samples.len()).collect()];
    let together: Vec<&AdaptedModel> = ends.iter().collect();
    let mut sweep = Sweep::of_streams(ends.len(), &together, set.samples, all, &request.sweep)?;
    let points = sweep.run(0, &boundaries, on_progress)?.into_iter().flatten();
    let loss_of = |scores: &Scores| mean(&scores.per_sample, set.answers);
    let (base, whole) = (loss_of(set.base), loss_of(set.whole));
    let losses = |scores: Scores| {
        let confidence = request.choice.confidence;
        let compared = Comparison::new(&scores.per_sample, &set.whole.per_sample, set.answers, confidence);
        StepLosses {
            loss: loss_of(&scores),
            gain_kept: gain_kept(loss_of(&scores), base, whole),
            difference: compared.difference,
            difference_at_most: compared.at_most,
            token_accuracy: token_accuracy(&scores.right, set.answers),
            exact_match: exact_match(&scores.right, set.answers),
        }
    };
    Ok(std::iter::once(set.cut.clone()).chain(points.map(|point| point.scores())).map(losses).collect())
}
