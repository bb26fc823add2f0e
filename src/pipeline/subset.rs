//! The search for parts of the adapter below the boundary that can be dropped, too.

use super::evaluator::{Candidate, Evaluator};
use crate::choice::comparison::draws;
use crate::choice::controls::Kept;
use crate::choice::subset::{Grain, Halves, steps};
use crate::error::Result;
use crate::measure::{OnProgress, Profile, Strength};
use crate::report::subset::{KeptLayer, Removed, SubsetChoice};

/// The fewest draws that can be halved so that each half has a standard error.
const LEAST_DRAWS: usize = 4;

/// A part that can be dropped: a layer, or a block of one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Removable {
    layer: usize,
    /// `None` for the whole layer.
    block: Option<&'static str>,
    /// How the adapter acts in the layer without it.
    left: Strength,
}

/// Removes parts of what a boundary keeps as long as the rule accepts the rest.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    grain: Grain,
    on_progress: OnProgress,
) -> Result<(Candidate, Option<SubsetChoice>)> {
    let mut candidate = evaluator.below(boundary);
    if boundary == 0 {
        return Ok((candidate, None));
    }
    // With fewer draws, parts can be neither ranked nor tested.
    let sizes = evaluator.curve.sizes();
    let can_test = draws(sizes) >= LEAST_DRAWS;
    let halves = Halves::draw(sizes);
    let mut removed = Vec::new();
    loop {
        let parts = removable(evaluator, &candidate.selection, grain);
        if parts.len() < 2 || !can_test {
            break;
        }
        let without: Vec<Profile> = parts.iter().map(|part| part.taken_from(&candidate.selection)).collect();
        let order = halves.rank(&evaluator.measure(without, &mut *on_progress)?);
        let counts = steps(parts.len());
        let leave = |&count: &usize| {
            order[..count].iter().fold(candidate.selection.clone(), |left, &part| parts[part].taken_from(&left))
        };
        let mut left: Vec<Profile> = counts.iter().map(leave).collect();
        let mut measured = evaluator.measure(left.clone(), &mut *on_progress)?;
        let accepts = |measured: &_| {
            let (reference, options) = (evaluator.reference(), &evaluator.request.choice);
            halves.accepts(measured, &candidate.measurement, &reference, options)
        };
        let accepted = measured.iter().take_while(|measured| accepts(measured)).count();
        let Some(last) = accepted.checked_sub(1) else { break };
        let (selection, measurement) = (left.swap_remove(last), measured.swap_remove(last));
        candidate = Candidate { kept: Kept::Subset, selection, measurement, ..candidate };
        removed.extend(order[..counts[last]].iter().map(|&part| parts[part].describe()));
    }
    let kept = candidate.selection.layers().into_iter().map(|layer| {
        let Strength { attention, mlp } = strength_in(evaluator, &candidate.selection, layer);
        KeptLayer { layer, attention: attention != 0.0, mlp: mlp != 0.0 }
    });
    let report = SubsetChoice {
        blocks: grain == Grain::Blocks,
        kept: kept.collect(),
        removed,
        assessment: evaluator.assess(&candidate.measurement),
    };
    Ok((candidate, Some(report)))
}

/// The parts of a selection that can be dropped.
fn removable(evaluator: &Evaluator, selection: &Profile, grain: Grain) -> Vec<Removable> {
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

impl Removable {
    fn taken_from(&self, selection: &Profile) -> Profile {
        selection.with(self.layer, |strength| Strength {
            attention: strength.attention.min(self.left.attention),
            mlp: strength.mlp.min(self.left.mlp),
        })
    }

    fn describe(&self) -> Removed {
        Removed { layer: self.layer, block: self.block.map(String::from) }
    }
}
