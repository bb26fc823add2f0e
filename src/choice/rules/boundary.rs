//! `boundary`: the user names the boundary, and the losses say what it costs.

use super::{Basis, Rule};
use crate::choice::{AssessedBoundary, Candidates};

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
}
