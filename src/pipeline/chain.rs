//! The steps after the cut: each reads the adapter that the previous step wrote, and what it writes is evaluated.
//!
//! The adapters lie in a temporary folder. The last one is copied to the output byte for byte.

use std::collections::BTreeSet;

use super::Request;
use crate::adapter::Adapter;
use crate::choice::{Assessment, Reference};
use crate::error::Result;
use crate::files::{Scratch, Staging};
use crate::measure::{self, ComputeOptions, Measurement, OnProgress, Sweep, Work};
use crate::model::{AdaptedModel, Model};
use crate::report::StepDone;
use crate::rewrite::dead_weight::BaseWeights;
use crate::rewrite::steps::{PlannedChanges, SharedStep, StepDetails, StepInput};
use crate::rewrite::{Cut, DeltaChange, RankSummary};
use crate::samples::Sample;

/// The adapters after the cut and after each step.
pub struct Chain {
    links: Vec<Link>,
    /// Deletes the adapters when it is dropped.
    _folder: Scratch,
}

struct Link {
    /// `None` for the cut.
    step: Option<SharedStep>,
    adapter: Adapter,
    details: StepDetails,
}

impl Link {
    /// In blocks of 8 bits the numbers take less than here.
    fn bytes(&self) -> u64 {
        let in_blocks = self.details.blocks.as_ref().map(|types| types.bytes);
        in_blocks.unwrap_or_else(|| self.adapter.bytes_below(usize::MAX))
    }
}

/// Samples that were measured with the original adapter and after the cut.
pub struct MeasuredSamples<'a> {
    pub samples: &'a [Sample],
    /// With the adapter after the cut, or as it is written where the cut was not measured by itself.
    pub cut: &'a Measurement,
    pub reference: Reference<'a>,
}

impl Chain {
    /// Cuts `original` and applies the steps, which may compare with the base model.
    pub fn make(original: &Adapter, cut: &Cut, steps: &[SharedStep], base: BaseWeights) -> Result<Self> {
        let folder = Scratch::new()?;
        let add = |step: Option<SharedStep>, write: &dyn Fn(&Staging) -> Result<StepDetails>| -> Result<Link> {
            let name = step.as_ref().map_or("layers", |step| step.flag().name);
            let path = folder.path().join(name);
            let staging = Staging::in_scratch(&folder, name)?;
            let details = write(&staging).map_err(|error| error.about(&original.path))?;
            staging.publish()?;
            Ok(Link { step, adapter: Adapter::open(&path, Some(&original.stack))?, details })
        };
        let mut links = vec![add(None, &|staging| cut.write(staging).map(|()| StepDetails::default()))?];
        for step in steps {
            let input = StepInput { adapter: &links[links.len() - 1].adapter, original, base };
            let link = add(Some(step.clone()), &|staging| step.write(&input, staging))?;
            links.push(link);
        }
        Ok(Self { links, _folder: folder })
    }

    /// The adapter after all steps.
    pub fn last(&self) -> &Adapter {
        &self.links[self.links.len() - 1].adapter
    }

    /// What the steps do.
    pub fn changes(&self) -> PlannedChanges {
        PlannedChanges::by(&self.links.iter().filter_map(|link| link.step.clone()).collect::<Vec<_>>())
    }

    /// The bytes of the tensors after all steps, as they will be written.
    pub fn bytes(&self) -> u64 {
        self.links[self.links.len() - 1].bytes()
    }

    /// What each step wrote, without losses.
    pub fn describe(&self) -> Result<Vec<StepDone>> {
        let cut = &self.links[0].adapter;
        let describe = |link: &Link| -> Result<StepDone> {
            let change = match &link.step {
                Some(_) => DeltaChange::between(cut, &link.adapter)?,
                None => None,
            };
            Ok(StepDone {
                step: link.step.as_ref().map_or("layers", |step| step.flag().name).into(),
                setting: link.step.as_ref().and_then(|step| step.setting()),
                tensors: link.adapter.tensors().count(),
                bytes: link.bytes(),
                ranks: RankSummary::of(&link.adapter),
                change,
                details: link.details.clone(),
                caution: link.step.as_ref().and_then(|step| step.caution(self.last())),
                losses: None,
                held_out: None,
            })
        };
        self.links.iter().map(describe).collect()
    }

    /// As [`describe`](Self::describe), where only what the last step wrote was measured, as the `cut` of each set.
    pub fn describe_last(&self, sets: &[MeasuredSamples]) -> Result<Vec<StepDone>> {
        let mut described = self.describe()?;
        let assess = |set: &MeasuredSamples| set.reference.assess(set.cut);
        if let Some(last) = described.last_mut() {
            (last.losses, last.held_out) = (sets.first().map(assess), sets.get(1).map(assess));
        }
        Ok(described)
    }

    /// As [`describe`](Self::describe), with the losses on the samples that chose, the first of `sets`, and on held-out
    /// samples, the second, if there are any.
    pub fn evaluate(
        &self,
        model: &Model,
        sets: &[MeasuredSamples],
        request: &Request,
        on_progress: OnProgress,
    ) -> Result<Vec<StepDone>> {
        let adapted = self.links[1..].iter().map(|link| AdaptedModel::load(model, &link.adapter));
        let adapted = adapted.collect::<Result<Vec<_>>>()?;
        let assessed = sets.iter().map(|set| assess(&adapted, set, request, &mut *on_progress));
        let mut assessed = assessed.collect::<Result<Vec<_>>>()?.into_iter();
        let mut described = self.describe()?;
        for (step, assessment) in described.iter_mut().zip(assessed.next().into_iter().flatten()) {
            step.losses = Some(assessment);
        }
        for (step, assessment) in described.iter_mut().zip(assessed.next().into_iter().flatten()) {
            step.held_out = Some(assessment);
        }
        Ok(described)
    }
}

/// Measures adapters of one base model with all their layers on, on the samples with these indices; with what it cost.
pub fn measure_whole(
    adapted: &[AdaptedModel],
    (samples, chosen): (&[Sample], &[usize]),
    compute: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<(Vec<Measurement>, Work)> {
    if adapted.is_empty() {
        return Ok((Vec::new(), Work::default()));
    }
    let whole_of = |one: &AdaptedModel| BTreeSet::from_iter(measure::candidates(one.adapter()).pop_last());
    let boundaries: Vec<BTreeSet<usize>> = adapted.iter().map(whole_of).collect();
    let together: Vec<&AdaptedModel> = adapted.iter().collect();
    let mut sweep = Sweep::with_streams(adapted.len(), &together, samples, vec![chosen.to_vec()], compute)?;
    let points = sweep.run(0, &boundaries, on_progress)?.into_iter().flatten();
    let measured = points.map(|point| point.measurement).collect();
    let mut work = Work::default();
    sweep.work.iter().for_each(|&one| work += one);
    Ok((measured, work))
}

/// Assesses the adapter after the cut and after each step, with all its layers on.
fn assess(
    steps: &[AdaptedModel],
    set: &MeasuredSamples,
    request: &Request,
    on_progress: OnProgress,
) -> Result<Vec<Assessment>> {
    let all: Vec<usize> = (0..set.samples.len()).collect();
    let measured = measure_whole(steps, (set.samples, &all), &request.compute, on_progress)?.0;
    let measured = std::iter::once(set.cut.clone()).chain(measured);
    Ok(measured.map(|measured| set.reference.assess(&measured)).collect())
}
