//! Which parts to take out next, and which of the selections that are left to test: the search for a subset without I/O.
//!
//! The samples that rank find a path of nested selections, those that test go along it to the first that fails
//! ([`Split`](crate::choice::subset::Split)).

use crate::choice::subset::{Judge, steps};
use crate::choice::{ChoiceOptions, Reference};
use crate::error::Result;
use crate::measure::{Measurement, Profile, Strength};

/// How many selections of a path are tested together: what the first that fails makes idle is not much.
const TESTED_TOGETHER: usize = 3;

/// With at least so many parts, and so many samples in half of those that rank, half of the parts are ruled out early.
const MANY_PARTS: usize = 12;
const LEAST_EARLY: usize = 8;

/// A part that can be dropped: a layer, or a block of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removable {
    pub layer: usize,
    /// `None` for the whole layer.
    pub block: Option<&'static str>,
    /// How the adapter acts in the layer without it.
    pub left: Strength,
}

impl Removable {
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
pub struct PathStep {
    pub removed: Vec<Removable>,
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
    pub parts: &'a [Removable],
    /// The base model and the whole adapter on all samples.
    pub reference: Reference<'a>,
    pub options: &'a ChoiceOptions,
}

impl SubsetSearch<'_> {
    /// The path, found on the samples that rank. In each round the parts that are left are taken out once each, and then some of them
    /// together, the cheapest first, as far as the rest seems to hold. A part that alone costs more than may still be given up is
    /// not tried again: with more parts gone it is needed more. The last step does not seem to hold; few samples can be wrong about
    /// that, too.
    pub fn path(&self, ranking: &[usize], measure: Measure) -> Result<Vec<PathStep>> {
        let judge = Judge::on(ranking, &self.reference, self.options);
        let (mut selection, mut current) = (self.selection.clone(), self.measurement.select(ranking));
        let (mut parts, mut most) = (self.parts.to_vec(), self.parts.len().saturating_sub(1));
        let mut path: Vec<PathStep> = Vec::new();
        loop {
            let order = self.ranked((&selection, &current), &parts, ranking, measure)?;
            let counts = steps(order.len().min(most));
            let left =
                |count: usize| order[..count].iter().fold(selection.clone(), |left, one| one.part.taken_from(&left));
            // Every second step is measured. The tests will tell where between two of them the path ends.
            let places: Vec<usize> = (0..counts.len()).step_by(2).collect();
            let together = places.iter().skip(1).map(|&place| left(counts[place])).collect();
            let together = measure(ranking, together)?;
            let measured: Vec<Measurement> =
                order.first().map(|one| one.without.clone()).into_iter().chain(together).take(places.len()).collect();
            let holding = measured.iter().take_while(|measured| judge.seems_to_hold(measured, &current)).count();
            let reached = holding.checked_sub(1).map(|last| places[last]);
            let before = std::iter::once(0).chain(counts.iter().copied());
            let steps = before.zip(&counts).take(reached.map_or(1, |place| place + 1));
            path.extend(steps.map(|(from, &to)| PathStep {
                removed: order[from..to].iter().map(|one| one.part).collect(),
                selection: left(to),
            }));
            let Some(place) = reached else { return Ok(path) };
            (selection, current) = (left(counts[place]), measured[holding - 1].clone());
            most -= counts[place];
            let (leeway, rest) = (judge.leeway(&current), &order[counts[place]..]);
            // They are in order: where none fits, the cheapest makes the last step.
            let fitting = rest.iter().take_while(|one| one.cost <= leeway).count().max(1);
            parts = rest.iter().take(fitting).map(|one| one.part).collect();
        }
    }

    /// The parts that seem dispensable, the cheapest first, each with the measurement of a selection without it; or the cheapest
    /// part, if none does. Where there are many parts, half of the samples rule out the more expensive half of them.
    fn ranked(
        &self,
        (selection, current): (&Profile, &Measurement),
        parts: &[Removable],
        ranking: &[usize],
        measure: Measure,
    ) -> Result<Vec<RankedPart>> {
        let judge = Judge::on(ranking, &self.reference, self.options);
        let without = |parts: &[Removable]| parts.iter().map(|part| part.taken_from(selection)).collect();
        let early = if parts.len() >= MANY_PARTS { ranking.len() / 2 } else { 0 };
        let (first, second) = ranking.split_at(early);
        let (mut parts, mut seen) = (parts.to_vec(), vec![Vec::new(); parts.len()]);
        if early >= LEAST_EARLY {
            let early_judge = Judge::on(first, &self.reference, self.options);
            let measured = measure(first, without(&parts))?;
            let mut all: Vec<(Removable, Measurement)> = parts.into_iter().zip(measured).collect();
            all.sort_by(|(_, a), (_, b)| early_judge.cost(a).total_cmp(&early_judge.cost(b)));
            all.truncate(all.len().div_ceil(2));
            (parts, seen) = all.into_iter().map(|(part, measured)| (part, measured.scores)).unzip();
        }
        let rest = if early >= LEAST_EARLY { second } else { ranking };
        let measured = measure(rest, without(&parts))?.into_iter().zip(seen);
        let sizes = current.sizes.clone();
        let whole =
            measured.map(|(rest, first)| Measurement { scores: [first, rest.scores].concat(), sizes: sizes.clone() });
        let rank = |(part, without)| RankedPart { part, cost: judge.cost(&without), without };
        let mut all: Vec<RankedPart> = parts.into_iter().zip(whole).map(rank).collect();
        all.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let seems_to_hold = |one: &RankedPart| judge.seems_to_hold(&one.without, current);
        if all.iter().any(seems_to_hold) {
            all.retain(seems_to_hold);
        } else {
            all.truncate(1);
        }
        Ok(all)
    }

    /// How many selections of a path, from its start, the rule accepts on the samples that test.
    pub fn test(&self, testing: &[usize], path: &[PathStep], measure: Measure) -> Result<usize> {
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

/// A part, what a selection without it seems to cost, and what was measured.
struct RankedPart {
    part: Removable,
    cost: f64,
    without: Measurement,
}
