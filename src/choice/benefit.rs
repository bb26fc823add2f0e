//! Whether an adapter helps at all: the one comparison with the base model that every command relies on.
//!
//! The whole adapter is compared with the base model, paired over draws, by the measure of the choice and with its one-sided
//! confidence. Where the whole adapter does not surely help, a part of it still may: each boundary below is compared in the same way,
//! with the allowed error divided among them, and has to be as good as the whole adapter, too.

use schemars::JsonSchema;
use serde::Serialize;

use super::{AssessedBoundary, Candidates, Comparison};
use crate::measure::Measurement;

/// What an adapter does to the base model on the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Benefit {
    /// The whole adapter is surely better than the base model.
    Helps,
    /// The whole adapter is not surely better, but its layers below a boundary are, and are no worse than the whole.
    PrefixHelps { boundary: usize },
    /// The whole adapter is surely worse than the base model.
    WorseThanBase,
    /// Neither can be shown.
    Unproven,
}

impl Candidates<'_> {
    /// Whether the adapter helps.
    pub fn benefit(&self) -> Benefit {
        let (base, whole) = (&self.curve.base().measurement, &self.curve.whole().measurement);
        match self.helpful_prefix() {
            _ if self.helps() => Benefit::Helps,
            Some(prefix) => Benefit::PrefixHelps { boundary: prefix.boundary },
            None if self.is_surely_better(base, whole, self.options.confidence) => Benefit::WorseThanBase,
            None => Benefit::Unproven,
        }
    }

    /// Whether the whole adapter is surely better than the base model.
    pub fn helps(&self) -> bool {
        self.is_surely_better(&self.curve.whole().measurement, &self.curve.base().measurement, self.options.confidence)
    }

    /// Where the whole adapter does not surely help: the best of the boundaries that surely do, and are as good as the whole adapter
    /// by what a rule would ask.
    pub fn helpful_prefix(&self) -> Option<&AssessedBoundary> {
        let place = *self.helpful.get_or_init(|| self.find_helpful_prefix());
        place.map(|place| &self.all[place])
    }

    fn find_helpful_prefix(&self) -> Option<usize> {
        // Where generated answers choose, losses do not.
        if self.options.score.is_some() || self.helps() {
            return None;
        }
        let is_inner = |candidate: &&AssessedBoundary| {
            candidate.boundary != self.base().boundary && candidate.boundary != self.whole().boundary
        };
        let (base, confidence) =
            (&self.curve.base().measurement, of_each(self.options.confidence, self.whole().boundary));
        let helps = |candidate: &&AssessedBoundary| {
            let measured = self.curve.at(candidate.boundary);
            measured.is_some_and(|measured| self.is_surely_better(measured, base, confidence))
        };
        // No other boundary has to hold: what is above may do as much harm as the whole adapter.
        let is_as_good = |candidate: &&AssessedBoundary| {
            let criteria = std::iter::once(self.options.measure).chain(self.options.guard);
            let reference = super::reference(self.curve, confidence);
            let holds = |measured, criterion| reference.holds(criterion, measured, self.options.margin);
            let measured = self.curve.at(candidate.boundary);
            measured.is_some_and(|measured| criteria.into_iter().all(|criterion| holds(measured, criterion)))
        };
        let helpful = self.allowed().filter(is_inner).filter(helps).filter(is_as_good);
        let best = helpful.min_by(|a, b| self.cost(a).total_cmp(&self.cost(b)))?;
        self.all.iter().position(|candidate| candidate.boundary == best.boundary)
    }

    /// Whether one measurement is surely better than another.
    fn is_surely_better(&self, one: &Measurement, other: &Measurement, confidence: f64) -> bool {
        Comparison::new(self.options.measure, one, other, confidence).is_surely_better()
    }
}

/// The confidence of each comparison of a boundary below the whole adapter's, where the allowed error is divided among all that there
/// may be: a search has not evaluated each of them.
pub(super) fn of_each(confidence: f64, whole: usize) -> f64 {
    1.0 - (1.0 - confidence) / whole.saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{ChoiceOptions, choose};
    use crate::measure::{Curve, Point};

    /// Boundaries 0, 1, 2, … on samples of one token.
    fn curve(losses: &[[f64; 6]]) -> Curve {
        let point = |(boundary, losses): (usize, &[f64; 6])| Point {
            boundary,
            measurement: Measurement::of_losses(losses, &[1; 6]),
        };
        Curve { points: losses.iter().enumerate().map(point).collect(), work: Default::default() }
    }

    fn judged(losses: &[[f64; 6]]) -> (Benefit, usize) {
        let (curve, options) = (curve(losses), ChoiceOptions::default());
        let boundary = choose(&curve, &options, |_| true).boundary();
        (Candidates::new(&curve, &options, &|_| true).benefit(), boundary)
    }

    const BASE: [f64; 6] = [2.0, 2.1, 1.9, 2.2, 1.8, 2.0];

    fn shifted(by: f64) -> [f64; 6] {
        BASE.map(|loss| loss + by)
    }

    #[test]
    fn the_whole_a_part_or_nothing_helps() {
        let noise = [0.5, -0.5, 0.4, -0.4, 0.3, -0.3];
        let unsure = std::array::from_fn(|sample| BASE[sample] + noise[sample]);
        assert_eq!(judged(&[BASE, shifted(-0.5), shifted(-1.0)]).0, Benefit::Helps);
        assert_eq!(judged(&[BASE, shifted(0.1), shifted(0.5)]), (Benefit::WorseThanBase, 0));
        assert_eq!(judged(&[BASE, unsure, unsure]).0, Benefit::Unproven);
        // The rule takes the part that helps most, and does not go down to the base model, which is no worse than the whole, either.
        assert_eq!(
            judged(&[BASE, shifted(-0.2), shifted(-0.4), shifted(-0.1), shifted(0.5)]),
            (Benefit::PrefixHelps { boundary: 2 }, 2)
        );
    }

    #[test]
    fn a_part_that_is_worse_than_a_doubtful_whole_is_no_choice() {
        // The whole is better on average, and it is not sure that it is better than the base model.
        let whole = [-1.5, 0.9, -1.2, 0.3, -2.4, -0.9];
        let whole = std::array::from_fn(|sample| BASE[sample] + whole[sample]);
        assert_eq!(judged(&[BASE, shifted(-0.1), whole]), (Benefit::Unproven, 2));
    }
}
