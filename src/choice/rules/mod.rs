//! The rules that choose a boundary. A rule is one file and one line in [`RULES`]: how it chooses, the reason that it gives, and
//! which boundaries a search may skip because the rule would not choose them.

mod best;
mod boundary;
pub mod curve;
mod smallest;
mod whole;

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::evidence::Evidence;
use super::{AssessedBoundary, Candidates, ChoiceOptions, Reference};
use crate::measure::Measurement;
pub use best::BEST;
pub use boundary::BOUNDARY;
pub use curve::CURVE;
pub use smallest::SMALLEST;
pub use whole::WHOLE;

/// All rules, the default first.
pub const RULES: [&dyn Rule; 5] = [SMALLEST, BEST, CURVE, BOUNDARY, WHOLE];

/// The rule with this name.
pub fn by_name(name: &str) -> Option<&'static dyn Rule> {
    RULES.into_iter().find(|rule| rule.name() == name)
}

/// What a rule bases its decision on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The losses of the boundaries.
    Losses,
    /// The probability curve, before any loss is known.
    Probability,
    /// The user, who named the boundary.
    User,
}

/// A rule.
pub trait Rule: fmt::Debug + Sync {
    /// The value of `--choose`, and the name in reports.
    fn name(&self) -> &'static str;

    /// Its description in `--help`.
    fn help(&self) -> &'static str;

    fn basis(&self) -> Basis {
        Basis::Losses
    }

    /// Chooses a boundary and says why, in one sentence. Boundary 0 means that the adapter does not help.
    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String);

    /// Whether a search may drop boundaries before they have seen all samples.
    fn drops_early(&self, _options: &ChoiceOptions) -> bool {
        true
    }

    /// Whether the rule goes down from the whole adapter and stops at the first boundary that fails, so that nothing below that one
    /// counts.
    fn descends(&self) -> bool {
        false
    }

    /// Whether the rule needs no more of a boundary, given the samples seen so far: it will surely not be chosen, nor is it one that
    /// might keep those below it from being chosen.
    fn surely_fails(&self, evidence: &Evidence, boundary: usize) -> bool {
        evidence.surely_unguarded(boundary) || evidence.surely_guarded(boundary) && evidence.is_surely_beaten(boundary)
    }

    /// Whether a rule that [descends](Self::descends) will surely continue below a boundary.
    fn surely_holds(&self, _evidence: &Evidence, _boundary: usize) -> bool {
        false
    }

    /// Whether parts that the guard does not need may be removed, given the measurement without them. By default if that is better.
    fn accepts(&self, trial: &Trial, options: &ChoiceOptions) -> bool {
        options.measure.mean(trial.candidate) < options.measure.mean(trial.current)
    }

    /// Whether to prefer the boundary `chosen` among `scaled` candidates to another one. By default if its loss is lower.
    fn prefers_scaled(&self, _scaled: &Candidates, chosen: &AssessedBoundary, other: (usize, f64)) -> bool {
        chosen.assessment.loss < other.1
    }

    /// What choosing boundary 0 means.
    fn without_layers(&self) -> &'static str {
        "The base model without the adapter is, with confidence, no worse than the whole adapter."
    }

    /// What the figures of a chosen boundary do not show by themselves.
    fn caution(&self) -> Option<&'static str> {
        None
    }
}

/// An adapter without some of its parts, measured on samples that did not pick the parts.
#[derive(Debug)]
pub struct Trial<'a> {
    pub candidate: &'a Measurement,
    /// The adapter that the parts are removed from.
    pub current: &'a Measurement,
    pub reference: Reference<'a>,
}

impl PartialEq for dyn Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Serialize for dyn Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The JSON schema of a rule in a report: one of the names.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = RULES.iter().map(|rule| rule.name()).collect();
    json_schema!({ "type": "string", "enum": names })
}
