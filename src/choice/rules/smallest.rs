//! `smallest`: the smallest boundary whose loss is, with confidence, not worse than the whole adapter's by more than a margin.

use super::{Rule, Trial};
use crate::choice::evidence::Evidence;
use crate::choice::{AssessedBoundary, Candidates, ChoiceOptions};
use crate::format::percent;

/// The default rule.
pub const SMALLEST: &dyn Rule = &Smallest;

#[derive(Debug)]
struct Smallest;

impl Rule for Smallest {
    fn name(&self) -> &'static str {
        "smallest"
    }

    fn help(&self) -> &'static str {
        "The smallest boundary that is, with confidence, not worse than the whole adapter"
    }

    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
        if let Some(prefix) = candidates.helpful_prefix() {
            let reason = "the whole adapter cannot be shown to help, and this is the best boundary that surely does";
            return (prefix, reason.into());
        }
        match lowest_that_holds(candidates) {
            Some(whole) if whole.boundary == candidates.whole().boundary => {
                (whole, nothing_smaller(candidates.options))
            }
            Some(candidate) => (candidate, not_worse(candidates.options)),
            None => {
                // An adapter that helps is kept up to the limit; the rule does not go on to the base model.
                let helps = candidates.cost(candidates.whole()) < candidates.cost(candidates.base());
                let is_kept = |candidate: &&AssessedBoundary| !helps || candidate.boundary > 0;
                let cost =
                    |a: &&AssessedBoundary, b: &&AssessedBoundary| candidates.cost(a).total_cmp(&candidates.cost(b));
                let best = candidates.admitted().filter(is_kept).min_by(cost);
                let best = best.or(candidates.allowed().filter(is_kept).min_by(cost));
                let reason = "the highest boundary within the limit cannot be shown to be as good as the whole adapter; this one \
                              is the best within it";
                (best.unwrap_or(candidates.best()), reason.into())
            }
        }
    }

    fn descends(&self) -> bool {
        true
    }

    fn surely_fails(&self, evidence: &Evidence, boundary: usize) -> bool {
        evidence.surely_fails(boundary)
    }

    fn surely_holds(&self, evidence: &Evidence, boundary: usize) -> bool {
        evidence.surely_holds(boundary)
    }

    fn accepts(&self, trial: &Trial, options: &ChoiceOptions) -> bool {
        trial.reference.holds(options.measure, trial.candidate, options.margin)
    }

    fn prefers_scaled(&self, scaled: &Candidates, chosen: &AssessedBoundary, other: (usize, f64)) -> bool {
        let holds = lowest_that_holds(scaled).is_some_and(|lowest| lowest.boundary == chosen.boundary);
        holds && chosen.boundary < other.0
    }
}

/// The boundary that the rule chooses: it goes down from the whole adapter and stops above the first boundary that does not hold.
/// Each test is made only if all before it passed, so that the confidence of one test is that of the choice. The whole adapter
/// always holds.
///
/// The measure and the guard are each tested at the full confidence: a boundary that is worse by either passes only if it passes the
/// test of that one (an intersection–union test; Berger, Technometrics 24, 1982).
fn lowest_that_holds<'a>(candidates: &'a Candidates) -> Option<&'a AssessedBoundary> {
    candidates.allowed().rev().take_while(|candidate| candidates.holds(candidate)).last()
}

/// Why the whole adapter is kept.
fn nothing_smaller(options: &ChoiceOptions) -> String {
    format!("no smaller boundary can be shown to be as good in {}", options.judged_by())
}

fn not_worse(options: &ChoiceOptions) -> String {
    format!(
        "smallest boundary that gives up, with {} % confidence, at most {} % of the adapter's gain in {}",
        percent(options.confidence),
        percent(options.margin),
        options.judged_by(),
    )
}
