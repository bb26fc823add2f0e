//! What the user should know before trusting a result.
//!
//! A warning is a finding about a finished report: a file here and a line in [`WARNINGS`]. docs/report.md says what each code means
//! and what to do about it.

mod better_alternative;
mod chat_template_unused;
mod curve_ignores_losses;
mod few_samples;
mod fewer_correct;
mod gives_up_probability;
mod held_out_overlap;
mod lower_scores;
mod no_end_token;
mod not_copied;
mod only_upper_layers;
mod prefix_helps;
mod runs_on;
mod score_gains_nothing;
mod step_caution;
mod suspect_samples;
mod thin_slices;
mod unmeasured_module;
mod unproven_help;
mod unstable_choice;
mod unused_input;
mod unused_stop;
mod worse_than_base;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Report;

/// Looks for one kind of finding in a report.
pub type Check = fn(&Report) -> Vec<Finding>;

/// All warnings by code, the gravest first.
pub const WARNINGS: &[(&str, Check)] = &[
    ("worse-than-base", worse_than_base::find),
    ("prefix-helps", prefix_helps::find),
    ("unproven-help", unproven_help::find),
    ("lower-scores", lower_scores::find),
    ("gives-up-probability", gives_up_probability::find),
    ("fewer-correct", fewer_correct::find),
    ("runs-on", runs_on::find),
    ("unstable-choice", unstable_choice::find),
    ("few-samples", few_samples::find),
    ("suspect-samples", suspect_samples::find),
    ("thin-slices", thin_slices::find),
    ("score-gains-nothing", score_gains_nothing::find),
    ("unused-stop", unused_stop::find),
    ("curve-ignores-losses", curve_ignores_losses::find),
    ("held-out-overlap", held_out_overlap::find),
    ("chat-template-unused", chat_template_unused::find),
    ("no-end-token", no_end_token::find),
    ("unmeasured-module", unmeasured_module::find),
    ("only-upper-layers", only_upper_layers::find),
    ("better-alternative", better_alternative::find),
    ("step-caution", step_caution::find),
    ("not-copied", not_copied::find),
    (UNUSED_INPUT, unused_input::find),
];

/// The code of what a batch finds at the place of an output that it did not write. No report can know that.
pub const EARLIER_OUTPUT: &str = "earlier-output";

/// What `inspect` and `check` find wrong with an adapter: not every runtime loads it as it was trained.
pub const WRONG_ADAPTER: &str = "wrong-adapter";
/// As [`WRONG_ADAPTER`], where it may be meant.
pub const POSSIBLY_WRONG_ADAPTER: &str = "possibly-wrong-adapter";
/// What keeps an adapter from being slimmed far.
pub const LIMITED: &str = "limited";
/// Weights that `inspect` could not compare with the base model's.
pub const NOT_COMPARED: &str = "not-compared";
/// What an input of a command other than `slim`, `scan` and `cut` holds that is not used.
pub const UNUSED_INPUT: &str = "unused-input";
/// A runtime for which `plan` has no plan, or an adapter that it cannot be part of.
pub const NOT_PLANNED: &str = "not-planned";

/// Something that the user should know before trusting a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What kind of warning it is. A code never changes its meaning.
    pub code: String,
    /// One sentence for people, without an end.
    pub sentence: String,
    /// The numbers behind it, by name. Shares are fractions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// As a terminal shows it.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} [{}]", self.sentence, self.code)
    }
}

/// A warning without its code, which stands in the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    sentence: String,
    figures: BTreeMap<String, f64>,
}

impl Finding {
    /// A finding that has no numbers.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), figures: BTreeMap::new() }
    }

    /// Adds a number.
    pub fn with(mut self, name: &str, figure: f64) -> Self {
        self.figures.insert(name.into(), figure);
        self
    }

    /// The warning of this code.
    pub fn coded(self, code: &str) -> Warning {
        Warning { code: code.into(), sentence: self.sentence, figures: self.figures }
    }
}

/// All warnings that a finished report gives rise to.
pub fn of(report: &Report) -> Vec<Warning> {
    let coded = |(code, find): (&'static str, Check)| find(report).into_iter().map(move |finding| finding.coded(code));
    WARNINGS.iter().copied().flat_map(coded).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_in_kebab_case_and_documented() {
        let docs = include_str!("../../../docs/report.md");
        let codes = WARNINGS.iter().map(|(code, _)| *code).chain([EARLIER_OUTPUT]);
        for code in codes.clone() {
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert!(docs.contains(&format!("\n| `{code}` |")), "docs/report.md has no row for `{code}`");
        }
        assert_eq!(codes.clone().collect::<BTreeSet<_>>().len(), codes.count(), "each code stands for one thing");
    }
}
