//! Checking a choice on samples that had no part in it.

use super::evaluator::{Candidate, Evaluator};
use super::inputs::Prepared;
use super::request::HeldOutSource;
use crate::choice::Reference;
use crate::choice::held_out::judge;
use crate::error::Result;
use crate::measure::{Measurement, OnProgress};
use crate::report::HeldOut;

/// The measurements on held-out samples, and the verdict.
pub struct HeldOutCheck {
    pub report: HeldOut,
    /// One for each candidate; the first is what was chosen.
    pub measured: Vec<Measurement>,
    base: Measurement,
    whole: Measurement,
    confidence: f64,
}

impl HeldOutCheck {
    /// The base model and the whole adapter on the held-out samples.
    pub fn reference(&self) -> Reference<'_> {
        Reference { base: &self.base, whole: &self.whole, confidence: self.confidence }
    }
}

/// Measures `candidates`, the base model and the whole adapter on held-out samples. The first candidate is what was chosen at
/// `boundary`.
pub fn check(
    evaluator: &Evaluator,
    held_out: &Prepared,
    boundary: usize,
    candidates: &[Candidate],
    on_progress: OnProgress,
) -> Result<HeldOutCheck> {
    let request = evaluator.request;
    let whole_boundary = evaluator.curve.whole().boundary;
    let ends = [0, whole_boundary].map(|boundary| evaluator.below(boundary));
    let all = [candidates, &ends].concat();
    let mut measured = evaluator.measure_candidates(&all, &held_out.samples, on_progress)?;
    let whole = measured.pop().unwrap_or_default();
    let base = measured.pop().unwrap_or_default();
    let confidence = request.choice.confidence;
    let reference = Reference { base: &base, whole: &whole, confidence };
    let report = HeldOut {
        samples: held_out.description.clone(),
        share: match request.samples.held_out {
            Some(HeldOutSource::Share(share)) => Some(share),
            _ => None,
        },
        left_out: held_out.left_out,
        verdict: judge((boundary, &measured[0]), whole_boundary, &reference, &request.choice),
    };
    Ok(HeldOutCheck { report, measured, base, whole, confidence })
}
