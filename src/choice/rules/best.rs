//! `best`: the lowest mean loss, which is the paper's automated boundary search.

use super::Rule;
use crate::choice::{AnswerScores, AssessedBoundary, Candidates, ChoiceOptions, Criterion, comparison};
use crate::format::percent;

/// The rule of `--choose best`.
pub const BEST: &dyn Rule = &Best;

#[derive(Debug)]
struct Best;

impl Rule for Best {
    fn name(&self) -> &'static str {
        "best"
    }

    fn help(&self) -> &'static str {
        "The boundary with the lowest loss: the paper's automated boundary search"
    }

    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
        match candidates.scores {
            Some(scores) => surely_better(candidates, scores),
            None if candidates.options.one_standard_error => within_one_standard_error(candidates),
            None => (candidates.best(), reason(candidates.options)),
        }
    }

    /// Which boundaries are within one standard error of the lowest loss is not known before the lowest is.
    fn drops_early(&self, options: &ChoiceOptions) -> bool {
        !options.one_standard_error
    }

    fn without_layers(&self) -> &'static str {
        "No boundary has a lower loss than the base model without the adapter."
    }

    fn caution(&self) -> Option<&'static str> {
        Some(
            "This loss was measured on the samples that chose the boundary, so it flatters the choice a little. Check it on \
             samples that had no part in the choice.",
        )
    }
}

/// The boundary with the highest score of those that score surely higher than the whole adapter, which is kept if there is none: the
/// highest of many noisy scores is mostly luck. The error is divided among the boundaries (Bonferroni).
fn surely_better<'a>(candidates: &'a Candidates, scores: &AnswerScores) -> (&'a AssessedBoundary, String) {
    let (name, confidence) = (scores.score.name(), candidates.options.confidence);
    let of_each = 1.0 - (1.0 - confidence) / scores.candidates().max(1) as f64;
    let is_better = |candidate: &&AssessedBoundary| {
        let difference = scores.to_whole(candidate.boundary, of_each).filter(|_| scores.suffice(confidence));
        difference.and_then(|difference| difference.difference_at_least).is_some_and(|least| least > 0.0)
    };
    let cost = |a: &&AssessedBoundary, b: &&AssessedBoundary| candidates.cost(a).total_cmp(&candidates.cost(b));
    let percent = percent(confidence);
    match candidates.admitted().filter(is_better).min_by(cost) {
        Some(best) => (
            best,
            format!("its answers have the highest {name}, with {percent} % confidence above the whole adapter's"),
        ),
        None => (
            candidates.admitted().next_back().unwrap_or(candidates.whole()),
            format!(
                "at no boundary is the {name} of the answers, with {percent} % confidence, higher than the whole adapter's"
            ),
        ),
    }
}

fn reason(options: &ChoiceOptions) -> String {
    let ChoiceOptions { measure, guard, .. } = options;
    match guard {
        Some(guard) => {
            format!("it is the best by {} of those that keep {}", measure.name(), guard.name())
        }
        None => format!("it is the best by {} on the samples", measure.name()),
    }
}

/// The smallest boundary within one standard error of the lowest, as is usual in choosing among models of growing size (Breiman et
/// al., Classification and Regression Trees, 3.4.3), but with the error of the paired difference: boundaries are better or
/// worse together on the same samples.
fn within_one_standard_error<'a>(candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
    let lowest = candidates.best();
    let (best, measure) = (candidates.curve.at(lowest.boundary), candidates.options.measure);
    let error_to_lowest = |candidate: &AssessedBoundary| {
        let (one, other) = candidates.curve.at(candidate.boundary).zip(best)?;
        let (costs, others) = (measure.costs(one), measure.costs(other));
        let differences: Vec<f64> = costs.iter().zip(&others).map(|(a, b)| a - b).collect();
        comparison::standard_error(&differences, &one.sizes)
    };
    let is_within = |candidate: &&AssessedBoundary| {
        let excess = candidates.cost(candidate) - candidates.cost(lowest);
        candidate.boundary == lowest.boundary || error_to_lowest(candidate).is_some_and(|error| excess <= error)
    };
    let smallest = candidates.admitted().find(is_within).unwrap_or(lowest);
    let (name, best) = (measure.name(), if measure == Criterion::Loss { "lowest" } else { "best" });
    let reason = format!(
        "smallest boundary whose {name} is within one standard error of the {best}, at boundary {}",
        lowest.boundary
    );
    (smallest, reason)
}
