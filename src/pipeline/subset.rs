//! The search for parts of the adapter below the boundary that can go, too.

use std::collections::BTreeSet;

use super::alternatives::{Given, Row};
use crate::choice::Choice;
use crate::choice::compare::Comparison;
use crate::choice::controls::Kept;
use crate::choice::subset::{Halves, Measure, steps};
use crate::error::Result;
use crate::report::subset::{KeptLayer, Removed, SubsetChoice};
use crate::settings::Grain;
use crate::sweep::{Profile, Strength, Watch};

/// Something that can go: a layer, or a block of one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    layer: usize,
    /// What stays of the layer without it.
    attention: bool,
    mlp: bool,
}

/// Takes parts out of what a boundary keeps for as long as the rule holds.
pub fn find(given: &Given, choice: &Choice, grain: Grain, watch: Watch) -> Result<(Row, Option<SubsetChoice>)> {
    if choice.boundary == 0 {
        return Ok((given.below(0), None));
    }
    let (base, whole) = (given.below(0).scores, given.whole().scores);
    let answers = &given.curve.answers;
    let halves = Halves::draw(answers.len());
    let mut row = given.below(choice.boundary);
    let mut removed = Vec::new();
    loop {
        let parts = given.parts(&row.selection, grain);
        let without: Vec<Profile> = parts.iter().map(|part| part.taken_from(&row.selection)).collect();
        let order = halves.rank(&given.evaluate(without, &mut *watch)?, answers);
        let taken = steps(parts.len());
        let leave = |&count: &usize| {
            order[..count].iter().fold(row.selection.clone(), |left, &part| parts[part].taken_from(&left))
        };
        let left: Vec<Profile> = taken.iter().map(leave).collect();
        let scores = given.evaluate(left.clone(), &mut *watch)?;
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
        let Strength { attention, mlp } = row.selection.at(layer);
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
        let modules: BTreeSet<String> = self.ends.adapter().tensors().map(|tensor| tensor.key.module).collect();
        let of_layer = |layer: usize| {
            let Strength { attention, mlp } = selection.at(layer);
            let has = |of_attention: bool| {
                let adapter = self.ends.adapter();
                let is_there = |module: &String| {
                    let inside = adapter.inside_layer(module, layer);
                    adapter.layer_of(module) == Some(layer)
                        && self.ends.model().config.family.is_of_attention(inside) == of_attention
                };
                modules.iter().any(is_there)
            };
            match grain {
                Grain::Layers => vec![Part { layer, attention: false, mlp: false }],
                Grain::Blocks => {
                    let attention_goes =
                        (attention != 0.0 && has(true)).then_some(Part { layer, attention: false, mlp: true });
                    let mlp_goes = (mlp != 0.0 && has(false)).then_some(Part { layer, attention: true, mlp: false });
                    attention_goes.into_iter().chain(mlp_goes).collect()
                }
            }
        };
        selection.layers().into_iter().flat_map(of_layer).collect()
    }
}

impl Part {
    fn taken_from(&self, selection: &Profile) -> Profile {
        selection.with(self.layer, |strength| Strength {
            attention: if self.attention { strength.attention } else { 0.0 },
            mlp: if self.mlp { strength.mlp } else { 0.0 },
        })
    }

    fn describe(&self) -> Removed {
        let block = match (self.attention, self.mlp) {
            (true, _) => Some("mlp".into()),
            (_, true) => Some("attention".into()),
            _ => None,
        };
        Removed { layer: self.layer, block }
    }
}
