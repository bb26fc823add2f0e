//! The search for parts of the adapter below the boundary that can be dropped, too.

use super::evaluator::{Candidate, Evaluator};
use crate::choice::controls::Kept;
use crate::choice::subset::{Grain, Split};
use crate::error::Result;
use crate::measure::{OnProgress, Profile, Strength, Work};
use crate::report::subset::{KeptLayer, Removed, SubsetChoice};
use crate::search::subset::{PathStep, Removable, SubsetSearch};

/// Removes parts of what a boundary keeps as long as the rule accepts the rest; with what that cost.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    grain: Grain,
    on_progress: OnProgress,
) -> Result<(Candidate, SubsetChoice, Work)> {
    let mut candidate = evaluator.below(boundary);
    let mut work = Work::default();
    let removed = removed(evaluator, &candidate, grain, (&mut work, &mut *on_progress))?;
    if let Some(last) = removed.last() {
        let selection = last.selection.clone();
        let measurement = evaluator.measure(vec![selection.clone()], on_progress)?.remove(0);
        candidate = Candidate { kept: Kept::Subset, selection, measurement, ..candidate };
    }
    let kept = candidate.selection.layers().into_iter().map(|layer| {
        let Strength { attention, mlp } = strength_in(evaluator, &candidate.selection, layer);
        KeptLayer { layer, attention: attention != 0.0, mlp: mlp != 0.0 }
    });
    let report = SubsetChoice {
        blocks: grain == Grain::Blocks,
        kept: kept.collect(),
        removed: removed.iter().flat_map(|step| &step.removed).map(describe).collect(),
        assessment: evaluator.assess(&candidate.measurement),
    };
    Ok((candidate, report, work))
}

/// The steps from `start` that the samples accept; none where they are too few to be split.
fn removed(
    evaluator: &Evaluator,
    start: &Candidate,
    grain: Grain,
    (work, on_progress): (&mut Work, OnProgress),
) -> Result<Vec<PathStep>> {
    let Some(split) = Split::draw(evaluator.curve.sizes()) else { return Ok(Vec::new()) };
    let search = SubsetSearch {
        selection: &start.selection,
        measurement: &start.measurement,
        parts: &parts(evaluator, &start.selection, grain),
        reference: evaluator.reference(),
        options: &evaluator.request.by_stage().choice,
    };
    let mut measure = |samples: &[usize], profiles: Vec<Profile>| {
        let (measured, cost) = evaluator.measure_on(samples, profiles, &mut *on_progress)?;
        *work += cost;
        Ok(measured)
    };
    let mut path = search.path(&split.ranking, &mut measure)?;
    path.truncate(search.test(&split.testing, &path, &mut measure)?);
    Ok(path)
}

/// The parts of a selection that can be dropped.
fn parts(evaluator: &Evaluator, selection: &Profile, grain: Grain) -> Vec<Removable> {
    let in_layer = |layer: usize| {
        let Strength { attention, mlp } = strength_in(evaluator, selection, layer);
        match grain {
            Grain::Layers => vec![Removable { layer, block: None, left: Strength::NONE }],
            Grain::Blocks => {
                let block = |block, left| Removable { layer, block: Some(block), left };
                let without_attention = block("attention", Strength { attention: 0.0, mlp });
                let without_mlp = block("mlp", Strength { attention, mlp: 0.0 });
                let blocks = [(attention, without_attention), (mlp, without_mlp)].into_iter();
                blocks.filter(|(strength, _)| *strength != 0.0).map(|(_, block)| block).collect()
            }
        }
    };
    selection.layers().into_iter().flat_map(in_layer).collect()
}

/// How a selection acts in a layer; it is off in a block that the adapter does not change.
fn strength_in(evaluator: &Evaluator, selection: &Profile, layer: usize) -> Strength {
    let (adapter, family) = (evaluator.adapter(), evaluator.adapted.model().config.family);
    let (mut has_attention, mut has_mlp) = (false, false);
    for tensor in adapter.tensors().filter(|tensor| adapter.layer_of(&tensor.key.module) == Some(layer)) {
        let is_of_attention = family.is_of_attention(adapter.inside_layer(&tensor.key.module, layer));
        has_attention |= is_of_attention;
        has_mlp |= !is_of_attention;
    }
    let strength = selection.at(layer);
    Strength {
        attention: if has_attention { strength.attention } else { 0.0 },
        mlp: if has_mlp { strength.mlp } else { 0.0 },
    }
}

fn describe(part: &Removable) -> Removed {
    Removed { layer: part.layer, block: part.block.map(String::from) }
}
