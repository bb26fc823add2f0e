//! `boundary`: the user names the boundary, and the losses say what it costs.

use super::{Basis, Outcome, Rule};
use crate::choice::{AssessedBoundary, Candidates};
use crate::format::percent_text;

/// The rule of `--boundary N`.
pub const BOUNDARY: &dyn Rule = &FixedBoundary;

#[derive(Debug)]
struct FixedBoundary;

impl Rule for FixedBoundary {
    fn name(&self) -> &'static str {
        "boundary"
    }

    fn help(&self) -> &'static str {
        "The boundary of `--boundary`"
    }

    fn basis(&self) -> Basis {
        Basis::User
    }

    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
        (candidates.named(), "the boundary was given".into())
    }

    /// The user's boundary is taken as it is, so the user should know what no other rule would have given up.
    fn warning(&self, outcome: &Outcome) -> Option<String> {
        let (chosen, margin) = (outcome.chosen, outcome.guard_margin?);
        let lost = -chosen.assessment.probability_difference;
        (lost > margin).then(|| {
            format!(
                "boundary {} gives up {} of the probability of a true token, where other rules allow {}: expect worse answers",
                chosen.boundary,
                percent_text(lost),
                percent_text(margin)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Assessment;

    #[test]
    fn what_the_guard_would_not_allow_is_pointed_out() {
        let assessment = Assessment { probability_difference: -0.15, ..Assessment::default() };
        let chosen = &AssessedBoundary { boundary: 18, assessment };
        let warning = |guard_margin| BOUNDARY.warning(&Outcome { chosen, margin: 0.0, guard_margin, samples: 64 });
        let told = warning(Some(0.008)).unwrap_or_default();
        assert!(told.contains("boundary 18 gives up 15.0 %") && told.contains("0.8 %"), "{told}");
        assert_eq!((warning(Some(0.2)), warning(None)), (None, None));
    }
}
