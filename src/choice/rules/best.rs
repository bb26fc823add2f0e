//! `best`: the lowest mean loss, which is the paper's automated boundary search.

use super::Rule;
use crate::choice::{AssessedBoundary, Candidates, ChoiceOptions, comparison};

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
        match candidates.options.one_standard_error {
            true => within_one_standard_error(candidates),
            false => (candidates.best(), reason(candidates)),
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

fn reason(candidates: &Candidates) -> String {
    let ChoiceOptions { measure, guard, .. } = candidates.options;
    let best = candidates.best();
    let excludes = |candidate: &AssessedBoundary| candidates.cost(candidate) < candidates.cost(best);
    match guard.filter(|_| candidates.allowed().any(excludes)) {
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
    let reason = format!(
        "smallest boundary whose loss is within one standard error of the lowest, {:.4} at boundary {}",
        lowest.assessment.loss, lowest.boundary
    );
    (smallest, reason)
}
