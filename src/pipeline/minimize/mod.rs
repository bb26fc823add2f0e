//! `--minimize`: the fewest bytes that are surely as good, over whole layers, blocks and module types, the rank of each module and
//! the type of the numbers.
//!
//! One backward pass says what each rank of each module is worth ([`crate::measure::sensitivities`]). For every size of a ladder the
//! ranks that are worth most per byte make one adapter. A module without ranks is gone, and so may be a block, a layer or a type. Each
//! adapter is written as the result would be, and what was written is measured and tested.

mod ladder;

use std::collections::{BTreeMap, BTreeSet};

use super::evaluator::{Candidate, Evaluator};
use super::request::{Minimize, Objective};
use crate::adapter::targets::last_segment;
use crate::choice::controls::Kept;
use crate::choice::rules::SMALLEST;
use crate::choice::subset::Split;
use crate::choice::{ChoiceOptions, Comparison, Criterion};
use crate::error::{ChoiceError, Result};
use crate::measure::{Measurement, OnProgress, Profile, Work};
use crate::report::minimized::{Against, FrontierPoint, KeptType, Minimized, SampleRole};
use crate::samples::Sample;
use crate::search::allocation::Ranks;
use crate::search::minimize::{Found, LadderSearch, Rung, joined};
use ladder::Ladder;

/// Minimises what `boundary` keeps; with what that cost. Where nothing smaller can be shown to hold, everything is kept as it is.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    minimize: Minimize,
    on_progress: OnProgress,
) -> Result<(Candidate, Minimized, Work)> {
    let sizes = evaluator.curve.sizes();
    let split = Split::draw(sizes).ok_or(ChoiceError::TooFewToSplit { samples: sizes.len() })?;
    let ranking: Vec<Sample> = split.ranking.iter().map(|&place| evaluator.samples[place].clone()).collect();
    let (mut ladder, mut work) = Ladder::new(evaluator, minimize, &ranking, &mut *on_progress)?;
    let mut measure = |ladder: &mut Ladder, samples: &[usize], rungs: &[usize]| {
        let (measured, cost) = ladder.measure(samples, rungs, &mut *on_progress)?;
        work += cost;
        Ok(measured)
    };
    let found = match minimize.objective {
        Objective::Bytes => {
            let options = ChoiceOptions { rule: SMALLEST, ..evaluator.request.choice.clone() };
            let (rungs, reference) = (ladder.count(), evaluator.reference());
            let search = LadderSearch { rungs, reference, options: &options };
            search.run(&split, &mut |samples, rungs| measure(&mut ladder, samples, rungs))?
        }
        // What fits best is known. What it costs is measured on samples that had no part in it.
        Objective::Loss { .. } => {
            let testing = measure(&mut ladder, &split.testing, &[0])?.pop();
            Found { chosen: Some(0), rungs: BTreeMap::from([(0, Rung { testing, ..Rung::default() })]) }
        }
    };
    let mut candidate = evaluator.below(boundary);
    if let Some(rung) = found.chosen {
        let known = &found.rungs[&rung];
        let ranking = match known.ranking.clone() {
            Some(ranking) => ranking,
            None => measure(&mut ladder, &split.ranking, &[rung])?.remove(0),
        };
        let testing = known.testing.clone().unwrap_or_default();
        candidate = minimized(evaluator, &mut ladder, rung, joined(&split, &ranking, &testing, sizes))?;
    }
    let report = describe(evaluator, &mut ladder, (&found, &split), &candidate, minimize)?;
    Ok((candidate, report, work))
}

/// A rung as what is to be written.
fn minimized(evaluator: &Evaluator, ladder: &mut Ladder, rung: usize, measurement: Measurement) -> Result<Candidate> {
    let adapter = evaluator.adapter();
    let dropped: BTreeSet<&str> = ladder.ranks(rung).filter(|(_, rank, _)| *rank == 0).map(|(name, ..)| name).collect();
    let kept = adapter.tensors().filter(|tensor| !dropped.contains(&*tensor.key.module));
    let layers: BTreeSet<usize> = kept.filter_map(|tensor| tensor.layer).collect();
    let selection = Profile::of_layers(&layers, evaluator.layers());
    let rewritten = Some(ladder.chain(rung)?);
    Ok(Candidate { kept: Kept::Minimized, selection, scale: 1.0, measurement, rewritten })
}

fn describe(
    evaluator: &Evaluator,
    ladder: &mut Ladder,
    (found, split): (&Found, &Split),
    candidate: &Candidate,
    minimize: Minimize,
) -> Result<Minimized> {
    let mut frontier = Vec::new();
    for (&rung, known) in &found.rungs {
        let bytes = ladder.chain(rung)?.bytes();
        let (role, samples, measured) = match (&known.testing, &known.ranking) {
            (Some(testing), _) => (SampleRole::Testing, &split.testing, testing),
            (None, Some(ranking)) => (SampleRole::Ranking, &split.ranking, ranking),
            (None, None) => continue,
        };
        let options = &evaluator.request.choice;
        let reference = evaluator.reference();
        let [base, whole] = [reference.base, reference.whole].map(|one| one.select(samples));
        let against = |criterion: Criterion| {
            let compared = Comparison::new(criterion, measured, &whole, options.confidence);
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
            holds: known.holds,
            chosen: found.chosen == Some(rung),
        });
    }
    let rung = found.chosen.unwrap_or(0);
    Ok(Minimized {
        objective: minimize.objective.name(),
        same_rank: minimize.ranks == Ranks::Same,
        kept: if found.chosen.is_some() { kept_types(ladder, rung) } else { Vec::new() },
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
