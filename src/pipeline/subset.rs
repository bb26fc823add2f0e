//! The search for parts of the adapter below the boundary that can go, too.

use super::alternatives::{Given, Row};
use crate::choice::Choice;
use crate::choice::compare::Comparison;
use crate::choice::controls::Kept;
use crate::choice::subset::{Halves, Measure, steps};
use crate::cli::settings::Grain;
use crate::error::Result;
use crate::measure::{OnProgress, Profile, Strength};
use crate::report::subset::{KeptLayer, Removed, SubsetChoice};

/// The fewest samples that can be halved, each half having a spread.
const LEAST_SAMPLES: usize = 4;

/// Something that can go: a layer, or a block of one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    layer: usize,
    /// `None` for all of the layer.
    block: Option<&'static str>,
    /// How the adapter acts in the layer without it.
    left: Strength,
}

/// Takes parts out of what a boundary keeps for as long as the rule holds.
pub fn find(
    given: &Given,
    choice: &Choice,
    grain: Grain,
    on_progress: OnProgress,
) -> Result<(Row, Option<SubsetChoice>)> {
    if choice.boundary == 0 {
        return Ok((given.below(0), None));
    }
    // With fewer there is nothing to rank or to test by.
    let can_test = given.samples.len() >= LEAST_SAMPLES;
    let (base, whole) = (given.below(0).scores, given.whole().scores);
    let answers = &given.curve.answers;
    let halves = Halves::draw(answers.len());
    let mut row = given.below(choice.boundary);
    let mut removed = Vec::new();
    loop {
        let parts = given.parts(&row.selection, grain);
        if parts.len() < 2 || !can_test {
            break;
        }
        let without: Vec<Profile> = parts.iter().map(|part| part.taken_from(&row.selection)).collect();
        let order = halves.rank(&given.evaluate(without, &mut *on_progress)?, answers);
        let taken = steps(parts.len());
        let leave = |&count: &usize| {
            order[..count].iter().fold(row.selection.clone(), |left, &part| parts[part].taken_from(&left))
        };
        let left: Vec<Profile> = taken.iter().map(leave).collect();
        let scores = given.evaluate(left.clone(), &mut *on_progress)?;
        let options = &given.request.choice;
        let measure = Measure { base: &base, whole: &whole, current: &row.scores, answers, options };
        let passed = scores.iter().take_while(|scores| halves.holds(scores, &measure)).count();
        let Some(last) = passed.checked_sub(1) else { break };
        row = Row { kept: Kept::Subset, selection: left[last].clone(), scores: scores[last].clone(), ..row };
        removed.extend(order[..taken[last]].iter().map(|&part| parts[part].describe()));
    }
    let (loss, gain_kept) = given.worth(&row.scores);
    let compared = Comparison::new(&row.scores.per_sample, &whole.per_sample, answers, given.request.choice.confidence);
    let kept = row.selection.layers().into_iter().map(|layer| {
        let Strength { attention, mlp } = given.in_layer(&row.selection, layer);
        KeptLayer { layer, attention: attention != 0.0, mlp: mlp != 0.0 }
    });
    let report = SubsetChoice {
        blocks: grain == Grain::Blocks,
        kept: kept.collect(),
        removed,
        loss,
        gain_kept,
        difference: compared.difference,
        difference_at_most: compared.at_most,
    };
    Ok((row, Some(report)))
}

impl Given<'_> {
    /// What can go of a selection.
    fn parts(&self, selection: &Profile, grain: Grain) -> Vec<Part> {
        let of_layer = |layer: usize| {
            let Strength { attention, mlp } = self.in_layer(selection, layer);
            match grain {
                Grain::Layers => vec![Part { layer, block: None, left: Strength::NONE }],
                Grain::Blocks => {
                    let part = |block, left| Part { layer, block: Some(block), left };
                    let attention_goes = part("attention", Strength { attention: 0.0, mlp });
                    let mlp_goes = part("mlp", Strength { attention, mlp: 0.0 });
                    let goes = [(attention, attention_goes), (mlp, mlp_goes)].into_iter();
                    goes.filter(|(strength, _)| *strength != 0.0).map(|(_, part)| part).collect()
                }
            }
        };
        selection.layers().into_iter().flat_map(of_layer).collect()
    }

    /// How a selection acts in a layer: not at all in a block that the adapter leaves alone.
    fn in_layer(&self, selection: &Profile, layer: usize) -> Strength {
        let (adapter, family) = (self.ends.adapter(), self.ends.model().config.family);
        let strength = selection.at(layer);
        let inside = |module: &str| family.is_of_attention(adapter.inside_layer(module, layer));
        let modules: Vec<String> = adapter.tensors().map(|tensor| tensor.key.module.clone()).collect();
        let mut blocks =
            modules.iter().filter(|module| adapter.layer_of(module) == Some(layer)).map(|module| inside(module));
        let (has_attention, has_mlp) = (blocks.clone().any(|is| is), blocks.any(|is| !is));
        Strength {
            attention: if has_attention { strength.attention } else { 0.0 },
            mlp: if has_mlp { strength.mlp } else { 0.0 },
        }
    }
}

impl Part {
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
