//! `--max-loss-increase`: the most that (loss(written) − loss(whole)) / loss(whole) may be.

use super::{Figures, Gate, GateVerdict, share_text};
use crate::choice::held_out::SampleSet;
use crate::format::{parse_share, percent};

pub const LOSS_INCREASE: &dyn Gate = &LossIncrease;

#[derive(Debug)]
struct LossIncrease;

impl Gate for LossIncrease {
    fn name(&self) -> &'static str {
        "max-loss-increase"
    }

    fn value_name(&self) -> &'static str {
        "SHARE"
    }

    fn help(&self) -> &'static str {
        "Gate: the loss of what is written is at most this share above the whole adapter's, for example 0.005 or 0.5%; on held-out \
         samples if there are any"
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        parse_share(text, 0.0)
    }

    fn measure(&self, figures: &Figures) -> Option<f64> {
        let (written, whole) = figures.measured.map(|one| (one.assessment.loss, one.whole.loss))?;
        if written == whole { Some(0.0) } else { Some((written - whole) / whole).filter(|share| share.is_finite()) }
    }

    fn measured_on(&self, figures: &Figures) -> Option<SampleSet> {
        figures.measured.map(|measured| measured.on)
    }

    fn passes(&self, measured: f64, asked: f64) -> bool {
        measured <= asked
    }

    fn value_text(&self, asked: f64) -> String {
        format!("{}%", percent(asked))
    }

    fn finding(&self, verdict: &GateVerdict, measured: f64) -> String {
        let on = if verdict.on == Some(SampleSet::HeldOut) { " on held-out samples" } else { "" };
        let share = share_text(measured, verdict.asked);
        match measured {
            0.0 => format!("the loss{on} is the same"),
            measured if measured > 0.0 => format!("the loss{on} rises by {share}"),
            _ => format!("the loss{on} falls by {share}"),
        }
    }
}
