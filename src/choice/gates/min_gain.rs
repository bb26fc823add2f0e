//! `--min-gain`: the least share of the base model's loss that what is written takes away.

use super::{Figures, Gate, GateVerdict, share_text};
use crate::choice::held_out::SampleSet;
use crate::format::{parse_share, percent};

pub const MIN_GAIN: &dyn Gate = &MinGain;

#[derive(Debug)]
struct MinGain;

impl Gate for MinGain {
    fn name(&self) -> &'static str {
        "min-gain"
    }

    fn value_name(&self) -> &'static str {
        "SHARE"
    }

    fn help(&self) -> &'static str {
        "Gate: the loss of what is written is at least this share below the base model's, for example 0.1 or 10%; on held-out \
         samples if there are any"
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        parse_share(text, 0.0)
    }

    fn measure(&self, figures: &Figures) -> Option<f64> {
        let written = figures.measured?.assessment;
        Some(written.gain / (written.loss + written.gain)).filter(|share| share.is_finite())
    }

    fn measured_on(&self, figures: &Figures) -> Option<SampleSet> {
        figures.measured.map(|measured| measured.on)
    }

    fn passes(&self, measured: f64, asked: f64) -> bool {
        measured >= asked
    }

    fn value_text(&self, asked: f64) -> String {
        format!("{}%", percent(asked))
    }

    fn finding(&self, verdict: &GateVerdict, measured: f64) -> String {
        let on = if verdict.on == Some(SampleSet::HeldOut) { " on held-out samples" } else { "" };
        let side = if measured < 0.0 { "above" } else { "below" };
        format!("the loss{on} is {} {side} the base model's", share_text(measured, verdict.asked))
    }
}
