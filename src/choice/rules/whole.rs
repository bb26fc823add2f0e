//! `whole`: every layer is kept, as far as the boundary goes. `--minimize` takes it from there.

use super::{Basis, Rule};
use crate::choice::{AssessedBoundary, Candidates};

/// The rule of `--minimize`.
pub const WHOLE: &dyn Rule = &Whole;

#[derive(Debug)]
struct Whole;

impl Rule for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn help(&self) -> &'static str {
        "All layers, of which `--minimize` drops what it can"
    }

    fn basis(&self) -> Basis {
        Basis::User
    }

    /// An adapter that does not surely help has no gain of which a part could be given up.
    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
        match candidates.helps() {
            true => (candidates.whole(), "`--minimize` drops from all layers what it can".into()),
            false => (
                candidates.base(),
                "the adapter cannot be shown to help, so that no part of its gain can be kept".into(),
            ),
        }
    }
}
