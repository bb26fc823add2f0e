//! `smallest`: the smallest boundary whose loss is, with confidence, not worse than the whole adapter's by more than a margin.

use super::{Outcome, Rule, Seen, Trial};
use crate::choice::evidence::Evidence;
use crate::choice::{AssessedBoundary, Candidates, ChoiceOptions};
use crate::format::percent;

/// The default rule.
pub const SMALLEST: &dyn Rule = &Smallest;

/// Fewer samples than this prove little.
const FEW_SAMPLES: usize = 16;

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
        match lowest_that_holds(candidates) {
            Some(whole) if whole.boundary == candidates.whole().boundary => {
                (whole, "no smaller boundary can be shown to be as good".into())
            }
            Some(candidate) => (candidate, not_worse(candidate, candidates)),
            None => {
                // An adapter that helps is kept up to the limit; the rule does not go on to the base model.
                let helps = candidates.whole().assessment.loss < candidates.base().assessment.loss;
                let kept = candidates.allowed().filter(|candidate| !helps || candidate.boundary > 0);
                let lowest = kept.min_by(|a, b| a.assessment.loss.total_cmp(&b.assessment.loss));
                let reason = "the highest boundary within the limit cannot be shown to be as good as the whole adapter; this one \
                              has the lowest loss within it";
                (lowest.unwrap_or(candidates.lowest()), reason.into())
            }
        }
    }

    fn descends(&self) -> bool {
        true
    }

    fn surely_fails(&self, evidence: &Evidence, seen: &Seen) -> bool {
        // Each boundary that the rule will accept can be ruled out wrongly.
        evidence.excess_over_margin(seen.boundary, seen.losses, evidence.candidates).least > seen.allowance
    }

    fn surely_holds(&self, evidence: &Evidence, seen: &Seen) -> bool {
        // Only the highest boundary that the rule will reject can be accepted wrongly, because nothing below it matters: this
        // is one comparison.
        evidence.excess_over_margin(seen.boundary, seen.losses, 1).most + seen.allowance <= 0.0
    }

    fn accepts(&self, trial: &Trial, options: &ChoiceOptions) -> bool {
        trial.reference.assess(trial.candidate).is_surely_within(trial.reference.margin(options.margin))
    }

    fn prefers_scaled(&self, scaled: &Candidates, chosen: &AssessedBoundary, other: (usize, f64)) -> bool {
        let holds = lowest_that_holds(scaled).is_some_and(|lowest| lowest.boundary == chosen.boundary);
        holds && chosen.boundary < other.0
    }

    fn warning(&self, outcome: &Outcome) -> Option<String> {
        let samples = outcome.samples;
        (samples < FEW_SAMPLES)
            .then(|| format!("{samples} samples are few to prove anything with; 64 or more are better"))
    }
}

/// The boundary that the rule chooses: it goes down from the whole adapter and stops above the first boundary that does not hold.
/// Each test is made only if all before it passed, so that the confidence of one test is that of the choice. The whole adapter
/// always holds.
fn lowest_that_holds<'a>(candidates: &'a Candidates) -> Option<&'a AssessedBoundary> {
    let (margin, whole) = (candidates.margin(), candidates.whole().boundary);
    let holds =
        |candidate: &&AssessedBoundary| candidate.boundary == whole || candidate.assessment.is_surely_within(margin);
    candidates.allowed().rev().take_while(holds).last()
}

fn not_worse(candidate: &AssessedBoundary, candidates: &Candidates) -> String {
    format!(
        "smallest boundary whose loss is with {} % confidence at most {:.4} nats above the whole adapter's ({} % of its gain); \
         its upper bound is {:+.4}",
        percent(candidates.options.confidence),
        candidates.margin(),
        percent(candidates.options.margin),
        candidate.assessment.difference_at_most.unwrap_or(f64::NAN),
    )
}
