//! `--require-saving`: the least share of the bytes of tensors that is saved.

use super::{Figures, Gate, GateVerdict, share_text};
use crate::format::{parse_share, percent};

pub const SAVING: &dyn Gate = &Saving;

#[derive(Debug)]
struct Saving;

impl Gate for Saving {
    fn name(&self) -> &'static str {
        "require-saving"
    }

    fn value_name(&self) -> &'static str {
        "SHARE"
    }

    fn help(&self) -> &'static str {
        "Gate: at least this share of the bytes of tensors is saved, for example 0.2 or 20%"
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        parse_share(text, 0.0)
    }

    fn needs_samples(&self) -> bool {
        false
    }

    fn measure(&self, figures: &Figures) -> Option<f64> {
        let (before, after) = figures.bytes?;
        Some((before as f64 - after as f64) / (before as f64).max(1.0))
    }

    fn passes(&self, measured: f64, asked: f64) -> bool {
        measured >= asked
    }

    fn value_text(&self, asked: f64) -> String {
        format!("{}%", percent(asked))
    }

    fn finding(&self, verdict: &GateVerdict, measured: f64) -> String {
        let share = share_text(measured, verdict.asked);
        if measured < 0.0 { format!("{share} are added") } else { format!("{share} are saved") }
    }
}
