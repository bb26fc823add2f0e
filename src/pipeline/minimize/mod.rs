//! `--minimize`: the fewest bytes that are surely as good, over whole layers, blocks and module types, the rank of each module and
//! the type of the numbers.
//!
//! One backward pass says what each rank of each module is worth ([`crate::measure::sensitivities`]). For every size of a ladder the
//! ranks that are worth most per byte make one adapter. A module without ranks is gone, and so may be a block, a layer or a type. Each
//! adapter is written as the result would be, and what was written is measured and tested.

pub mod common;
pub mod fleet;
mod ladder;
mod trials;

use std::collections::{BTreeMap, BTreeSet};

use super::evaluator::{Candidate, Evaluator};
use super::request::{Minimize, Objective, Sizes};
use crate::adapter::targets::last_segment;
use crate::choice::controls::Kept;
use crate::choice::{Comparison, Criterion};
use crate::error::Result;
use crate::measure::{OnProgress, Profile, Work};
use crate::report::minimized::{Against, FrontierPoint, KeptType, Minimized, SampleRole};
use crate::search::allocation::Ranks;
use crate::search::minimize::{LadderSearch, Stage};
use ladder::Ladder;
use trials::Trials;

/// Of all sizes, every so many are measured: those a factor of √2 apart.
const SHOWN_EVERY: usize = 2;

/// Minimises what `boundary` keeps; with what that cost. Where nothing smaller can be shown to hold, everything is kept as it is.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    minimize: &Minimize,
    on_progress: OnProgress,
) -> Result<(Candidate, Minimized, Work)> {
    let options = &evaluator.request.choice;
    let (margin, confidence) = (options.margin, options.confidence);
    let mut trials = Trials::new(evaluator, &mut *on_progress)?;
    trials.ladder.make_rungs(minimize)?;
    let chosen = match &minimize.objective {
        Objective::Bytes => {
            let given_up = trials.ladder.given_up();
            let search = LadderSearch { given_up: &given_up, margin, confidence };
            search.run(&mut |stage, rung| trials.judge(stage, rung, &mut *on_progress))?
        }
        // What fits best is known. What it costs is measured on samples that had no part in it.
        Objective::Loss { .. } => {
            trials.measured(Stage::Testing { confidence }, 0, &mut *on_progress)?;
            Some(0)
        }
        Objective::Common(common) => {
            let stage = Stage::Testing { confidence: common.confidence };
            trials.judge(stage, 0, &mut *on_progress)?.holds.then_some(0)
        }
    };
    if minimize.sizes == Sizes::All {
        for rung in (0..trials.ladder.count()).step_by(SHOWN_EVERY) {
            trials.measured(Stage::Testing { confidence }, rung, &mut *on_progress)?;
        }
    }
    let candidate = match chosen {
        Some(rung) => minimized(&mut trials, rung, &mut *on_progress)?,
        None => evaluator.below(boundary),
    };
    let report = describe(&mut trials, chosen, &candidate, minimize)?;
    Ok((candidate, report, trials.work))
}

/// A rung as what is to be written.
fn minimized(trials: &mut Trials, rung: usize, on_progress: OnProgress) -> Result<Candidate> {
    let measurement = trials.measured_on_all(rung, on_progress)?;
    let Trials { evaluator, ladder, .. } = trials;
    let adapter = evaluator.adapter();
    let dropped: BTreeSet<&str> = ladder.ranks(rung).filter(|(_, rank, _)| *rank == 0).map(|(name, ..)| name).collect();
    let kept = adapter.tensors().filter(|tensor| !dropped.contains(&*tensor.key.module));
    let layers: BTreeSet<usize> = kept.filter_map(|tensor| tensor.layer).collect();
    let selection = Profile::of_layers(&layers, evaluator.layers());
    let rewritten = Some(ladder.chain(rung)?);
    Ok(Candidate { kept: Kept::Minimized, selection, scale: 1.0, measurement, rewritten })
}

fn describe(
    trials: &mut Trials,
    chosen: Option<usize>,
    candidate: &Candidate,
    minimize: &Minimize,
) -> Result<Minimized> {
    let Trials { evaluator, ladder, split, rungs, .. } = trials;
    let mut frontier = Vec::new();
    for (&rung, known) in rungs.iter() {
        let bytes = ladder.chain(rung)?.bytes();
        let (role, samples, measured) = match (&known.testing, &known.ranking) {
            (Some(testing), _) => (SampleRole::Testing, &split.testing, testing),
            (None, Some(ranking)) => (SampleRole::Ranking, &split.ranking, ranking),
            (None, None) => continue,
        };
        let options = &evaluator.request.choice;
        let reference = evaluator.reference();
        let [base, whole] = [reference.base, reference.whole].map(|one| one.select(samples));
        let confidence = known.verdict.map_or(options.confidence, |verdict| verdict.confidence);
        let against = |criterion: Criterion| {
            let compared = Comparison::new(criterion, measured, &whole, confidence);
            let gain = criterion.mean(&base) - criterion.mean(&whole);
            Against {
                measure: criterion,
                difference: compared.difference,
                difference_at_most: compared.at_most,
                margin: gain.max(0.0) * options.margin,
            }
        };
        let guard = options.guard.filter(|&guard| guard != options.measure);
        frontier.push(FrontierPoint {
            bytes,
            modules: ladder.ranks(rung).filter(|(_, rank, _)| *rank > 0).count(),
            ranks: ladder.ranks(rung).map(|(_, rank, _)| rank).sum(),
            role,
            samples: samples.len(),
            against: std::iter::once(options.measure).chain(guard).map(against).collect(),
            confidence,
            holds: known.verdict.map(|verdict| verdict.holds),
            chosen: chosen == Some(rung),
        });
    }
    let rung = chosen.unwrap_or(0);
    let common = if let Objective::Common(common) = &minimize.objective { Some(common.adapters) } else { None };
    Ok(Minimized {
        objective: minimize.objective.name(),
        adapters: common,
        same_rank: minimize.ranks == Ranks::Same,
        kept: if chosen.is_some() { kept_types(ladder, rung) } else { Vec::new() },
        frontier,
        ranking_samples: split.ranking.len(),
        testing_samples: split.testing.len(),
        assessment: evaluator.assess(&candidate.measurement),
    })
}

/// What is kept of each type of module.
fn kept_types(ladder: &Ladder, rung: usize) -> Vec<KeptType> {
    let mut types: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (name, rank, before) in ladder.ranks(rung) {
        types.entry(last_segment(name)).or_default().push((rank, before));
    }
    let describe = |(name, ranks): (&str, Vec<(usize, usize)>)| KeptType {
        name: name.into(),
        modules: ranks.len(),
        kept: ranks.iter().filter(|(rank, _)| *rank > 0).count(),
        largest_rank: ranks.iter().map(|(rank, _)| *rank).max().unwrap_or(0),
        ranks: ranks.iter().map(|(rank, _)| rank).sum(),
        ranks_before: ranks.iter().map(|(_, before)| before).sum(),
    };
    types.into_iter().map(describe).collect()
}
