//! Which parts to take out next, and which of the selections that are left to test: the search for a subset without I/O.
//!
//! The samples that rank find a path of nested selections, those that test go along it to the first that fails
//! ([`Split`](crate::choice::subset::Split)).

use crate::choice::subset::{Judge, steps};
use crate::choice::{ChoiceOptions, Reference};
use crate::error::Result;
use crate::measure::{Measurement, Profile, Strength};

/// How many selections of a path are tested together: what the first that fails makes idle is not much.
const TESTED_TOGETHER: usize = 4;

/// A part that can be dropped: a layer, or a block of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub layer: usize,
    /// `None` for the whole layer.
    pub block: Option<&'static str>,
    /// How the adapter acts in the layer without it.
    pub left: Strength,
}

impl Part {
    /// A selection without the part.
    pub fn taken_from(&self, selection: &Profile) -> Profile {
        selection.with(self.layer, |strength| Strength {
            attention: strength.attention.min(self.left.attention),
            mlp: strength.mlp.min(self.left.mlp),
        })
    }
}

/// A selection on the path, and what it goes without beside the one before it.
#[derive(Debug, Clone)]
pub struct Step {
    pub removed: Vec<Part>,
    pub selection: Profile,
}

/// Measures selections on the samples with these indices.
pub type Measure<'a> = &'a mut dyn FnMut(&[usize], Vec<Profile>) -> Result<Vec<Measurement>>;

/// The search for what can be taken out of a selection.
pub struct SubsetSearch<'a> {
    pub selection: &'a Profile,
    /// The selection on all samples.
    pub measurement: &'a Measurement,
    /// All parts of the selection. Something has to be left of them.
    pub parts: &'a [Part],
    /// The base model and the whole adapter on all samples.
    pub reference: Reference<'a>,
    pub options: &'a ChoiceOptions,
}

impl SubsetSearch<'_> {
    /// The path, found on the samples that rank. In each round every part that is left is taken out once, and then the first 1, 2,
    /// 3, … of them together, the cheapest first, as far as the rest seems to hold. A part that alone costs more than may still be
    /// given up is not tried again: with more parts gone it is needed more.
    pub fn path(&self, ranking: &[usize], measure: Measure) -> Result<Vec<Step>> {
        let judge = Judge::on(ranking, &self.reference, self.options);
        let (mut selection, mut current) = (self.selection.clone(), self.measurement.select(ranking));
        let (mut parts, mut most) = (self.parts.to_vec(), self.parts.len().saturating_sub(1));
        let mut path = Vec::new();
        loop {
            let without: Vec<Profile> = parts.iter().map(|part| part.taken_from(&selection)).collect();
            let measured = measure(ranking, without)?;
            let mut dispensable: Vec<(f64, Part, Measurement)> = parts
                .into_iter()
                .zip(measured)
                .filter(|(_, measured)| judge.seems_to_hold(measured, &current))
                .map(|(part, measured)| (judge.cost(&measured), part, measured))
                .collect();
            dispensable.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
            let order: Vec<(f64, Part)> = dispensable.iter().map(|(cost, part, _)| (*cost, *part)).collect();
            let counts = steps(order.len().min(most));
            let left = |&count: &usize| {
                order[..count].iter().fold(selection.clone(), |left, (_, part)| part.taken_from(&left))
            };
            let selections: Vec<Profile> = counts.iter().map(left).collect();
            let together = measure(ranking, selections.get(1..).unwrap_or_default().to_vec())?;
            let alone = dispensable.into_iter().take(1).map(|(_, _, measured)| measured);
            let measured: Vec<Measurement> = alone.chain(together).take(counts.len()).collect();
            let holding = measured.iter().take_while(|measured| judge.seems_to_hold(measured, &current)).count();
            let Some(last) = holding.checked_sub(1) else { return Ok(path) };
            let before = std::iter::once(0).chain(counts.iter().copied());
            for ((from, &to), selection) in before.zip(&counts).zip(&selections).take(holding) {
                let removed = order[from..to].iter().map(|(_, part)| *part).collect();
                path.push(Step { removed, selection: selection.clone() });
            }
            (selection, current) = (selections[last].clone(), measured[last].clone());
            most -= counts[last];
            let leeway = judge.leeway(&current);
            parts = order[counts[last]..].iter().filter(|(cost, _)| *cost <= leeway).map(|(_, part)| *part).collect();
        }
    }

    /// How many selections of a path, from its start, the rule accepts on the samples that test.
    pub fn test(&self, testing: &[usize], path: &[Step], measure: Measure) -> Result<usize> {
        let judge = Judge::on(testing, &self.reference, self.options);
        let mut current = self.measurement.select(testing);
        let mut accepted = 0;
        for steps in path.chunks(TESTED_TOGETHER) {
            let selections = steps.iter().map(|step| step.selection.clone()).collect();
            for measured in measure(testing, selections)? {
                if !judge.accepts(&measured, &current) {
                    return Ok(accepted);
                }
                (accepted, current) = (accepted + 1, measured);
            }
        }
        Ok(accepted)
    }
}
