//! What the samples seen so far say of a boundary, and how surely.
//!
//! A boundary is judged by every criterion of the choice; `costs` does it by one. `best` drops a boundary as soon as *any* other
//! one that may be chosen is surely better. That other one need not be the best so far: neighbours are better or worse together on
//! the same samples, so a step of the curve is certain long before its height is.

mod costs;

use std::collections::BTreeMap;

use super::ChoiceOptions;
use super::benefit::of_each;
use crate::measure::{SampleScore, SampleSize};
use costs::{CostEvidence, Standard};

/// What a search decides, and from what.
#[derive(Clone, Copy)]
pub struct Race<'a> {
    pub options: &'a ChoiceOptions,
    /// The probability of a wrong verdict that all comparisons may have together.
    pub error: f64,
    /// How often boundaries are judged.
    pub looks: usize,
    /// How many boundaries there are.
    pub candidates: usize,
    /// The sizes of all samples, in the order in which they are seen.
    pub sizes: &'a [SampleSize],
    /// The base model and the whole adapter.
    pub ends: (usize, usize),
}

/// What has been seen.
pub struct Evidence<'a> {
    race: Race<'a>,
    measure: CostEvidence<'a>,
    guard: Option<CostEvidence<'a>>,
}

impl<'a> Evidence<'a> {
    /// `scores` has the scores of the samples by boundary, in the order in which they are seen.
    pub fn new(race: Race<'a>, scores: &BTreeMap<usize, Vec<SampleScore>>) -> Self {
        let by = |criterion: super::Criterion| {
            let cost = |(score, size): (&SampleScore, &SampleSize)| criterion.cost(score, size);
            let costs = |seen: &Vec<SampleScore>| seen.iter().zip(race.sizes).map(cost).collect();
            CostEvidence { race, costs: scores.iter().map(|(&boundary, seen)| (boundary, costs(seen))).collect() }
        };
        Self { race, measure: by(race.options.measure), guard: race.options.guard.map(by) }
    }

    /// Whether the exhaustive sweep will surely not choose a boundary.
    pub fn rules_out(&self, boundary: usize) -> bool {
        self.race.options.rule.surely_fails(self, boundary)
    }

    /// Whether a rule that descends will surely go past a boundary, evaluated or not.
    pub fn holds(&self, boundary: usize) -> bool {
        self.race.options.rule.surely_holds(self, boundary)
    }

    /// Whether a boundary is by any criterion surely worse than the whole adapter by more than the margin. Each boundary that a
    /// rule will accept can be ruled out wrongly.
    pub fn surely_fails(&self, boundary: usize) -> bool {
        let comparisons = self.race.candidates * self.criteria().count();
        self.criteria().any(|one| one.surely_fails(boundary, self.as_good(), comparisons))
    }

    /// Whether a boundary is by every criterion surely worse than the whole adapter by no more than the margin.
    ///
    /// Of a rule that descends, only the highest boundary that it will reject can be accepted wrongly, because nothing below it
    /// matters; and by the one criterion that rejects it. So this is one comparison.
    pub fn surely_holds(&self, boundary: usize) -> bool {
        self.criteria().all(|one| one.surely_holds(boundary, self.as_good()))
    }

    /// Whether a boundary surely holds the guard.
    pub fn surely_guarded(&self, boundary: usize) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.surely_holds(boundary, self.as_good()))
    }

    /// Whether a boundary surely fails the guard.
    pub fn surely_unguarded(&self, boundary: usize) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.surely_fails(boundary, self.as_good(), 2 * self.race.candidates))
    }

    /// Whether any other boundary that the guard admits is surely better.
    pub fn is_surely_beaten(&self, boundary: usize) -> bool {
        let comparisons = if self.measure.costs.contains_key(&boundary) { 2 * self.measure.costs.len() } else { 1 };
        let may_win = |rival: usize| rival == self.race.ends.1 || self.surely_guarded(rival);
        self.measure.is_surely_beaten(boundary, may_win, comparisons)
    }

    /// Whether a boundary is surely not the part of the adapter that helps most, where the whole does not surely help
    /// ([`Candidates::helpful_prefix`](super::Candidates::helpful_prefix)). `best` is one that does help.
    pub fn cannot_help_most(&self, boundary: usize, best: Option<usize>) -> bool {
        let (base, whole) = self.race.ends;
        let strict = of_each(self.race.options.confidence, whole);
        let helps = Standard { reference: base, margin: 0.0, confidence: strict };
        let as_good = Standard { confidence: strict, ..self.as_good() };
        let comparisons = 3 * self.race.candidates;
        self.measure.surely_fails(boundary, helps, comparisons)
            || self.criteria().any(|one| one.surely_fails(boundary, as_good, comparisons))
            || best.is_some_and(|best| self.measure.is_surely_beaten(boundary, |rival| rival == best, comparisons))
    }

    /// The standard of the choice: no worse than the whole adapter by more than the margin.
    fn as_good(&self) -> Standard {
        let options = self.race.options;
        Standard { reference: self.race.ends.1, margin: options.margin, confidence: options.confidence }
    }

    fn criteria(&self) -> impl Iterator<Item = &CostEvidence<'a>> {
        std::iter::once(&self.measure).chain(&self.guard)
    }
}
