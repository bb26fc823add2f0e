//! `--better-than-base`: what is written is surely better than the base model.

use super::{Figures, Gate, GateVerdict};
use crate::choice::held_out::SampleSet;

pub const BETTER_THAN_BASE: &dyn Gate = &BetterThanBase;

#[derive(Debug)]
struct BetterThanBase;

impl Gate for BetterThanBase {
    fn name(&self) -> &'static str {
        "better-than-base"
    }

    fn value_name(&self) -> &'static str {
        "NATS"
    }

    fn default_value(&self) -> Option<&'static str> {
        Some("0")
    }

    fn help(&self) -> &'static str {
        "Gate: with `--confidence`, the loss of what is written is below the base model's, by more than NATS per token if it is given; \
         on held-out samples if there are any"
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        let nats = text.parse().ok().filter(|nats: &f64| nats.is_finite() && *nats >= 0.0);
        nats.ok_or_else(|| format!("`{text}` is not a number of nats from 0, such as 0.05"))
    }

    fn measure(&self, figures: &Figures) -> Option<f64> {
        figures.measured?.assessment.gain_at_least
    }

    fn measured_on(&self, figures: &Figures) -> Option<SampleSet> {
        figures.measured.map(|measured| measured.on)
    }

    fn passes(&self, measured: f64, asked: f64) -> bool {
        measured > asked
    }

    fn value_text(&self, asked: f64) -> String {
        asked.to_string()
    }

    fn finding(&self, verdict: &GateVerdict, measured: f64) -> String {
        let on = if verdict.on == Some(SampleSet::HeldOut) { " on held-out samples" } else { "" };
        format!("the gain over the base model{on} is surely no less than {measured:+.4} nats per token")
    }
}
