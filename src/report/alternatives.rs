//! What else could have been done with the adapter, beside what was: less of it in all layers, other layers.

use schemars::JsonSchema;
use serde::Serialize;

use super::{CurvePoint, Report};
use crate::choice::compare::{Comparison, exact_match, mean, token_accuracy};
use crate::choice::controls::Kept;
use crate::choice::scale::{ScalePoint, ScaledBoundary};
use crate::format;
use crate::measure::Scores;

/// The scale of what is kept.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScaleChoice {
    /// What everything that the adapter adds in its layers is multiplied with, through its alpha.
    pub scale: f64,
    /// One sentence for people.
    pub reason: String,
    /// With the scale, in nats per answer token.
    pub loss: f64,
    /// (loss(base) − loss) / (loss(base) − loss(whole)); absent where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// The scales that were tried, lowest first; absent where the scale was given.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tried: Vec<ScalePoint>,
    /// The boundaries at this scale, where one was chosen among them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub boundaries: Vec<ScaledBoundary>,
}

/// A set of layers and a scale, and what they are worth.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Alternative {
    #[serde(flatten)]
    pub kept: Kept,
    pub layers: Vec<usize>,
    pub scale: f64,
    /// The bytes of the tensors.
    pub bytes: u64,
    /// Whether this is what is (or, after `scan`, would be) written.
    pub written: bool,
    /// On the samples that choose.
    pub samples: Measured,
    /// On held-out samples; absent where none were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Measured>,
}

/// An adapter on samples, against the one that is written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Measured {
    /// Nats per answer token.
    pub loss: f64,
    pub token_accuracy: f64,
    pub exact_match: f64,
    /// loss − loss(written).
    pub difference: f64,
    /// Its one-sided upper confidence bound; below 0 this one is surely better. Absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
}

impl Measured {
    pub fn new(scores: &Scores, written: &Scores, answers: &[usize], confidence: f64) -> Self {
        let compared = Comparison::new(&scores.per_sample, &written.per_sample, answers, confidence);
        Self {
            loss: mean(&scores.per_sample, answers),
            token_accuracy: token_accuracy(&scores.right, answers),
            exact_match: exact_match(&scores.right, answers),
            difference: compared.difference,
            difference_at_most: compared.at_most,
        }
    }

    fn is_surely_better(&self) -> bool {
        self.difference_at_most.is_some_and(|most| most < 0.0)
    }
}

/// Right answers on the samples that choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Right {
    pub token_accuracy: f64,
    pub exact_match: f64,
}

impl Right {
    pub fn of(point: &CurvePoint) -> Self {
        Self { token_accuracy: point.token_accuracy, exact_match: point.exact_match }
    }
}

impl Report {
    /// What is written gets right, with its scale.
    pub fn written_right(&self) -> Option<Right> {
        let written = self.alternatives.iter().find(|alternative| alternative.written).map(|written| &written.samples);
        let boundary = self.chosen.as_ref().map(|choice| choice.boundary);
        let point = self.curve.iter().find(|point| Some(point.boundary) == boundary);
        let written =
            written.map(|&Measured { token_accuracy, exact_match, .. }| Right { token_accuracy, exact_match });
        written.or_else(|| point.map(Right::of))
    }
}

impl Alternative {
    /// Whether this is surely better than what is written: on held-out samples if there are any, else on those that choose.
    /// The adapter as it came, and the boundary that the rule took on its way, are what it is measured with, and no alternatives.
    pub fn wins(&self) -> bool {
        let is_measure = matches!(self.kept, Kept::Everything | Kept::Lowest) && self.scale == 1.0;
        !self.written && !is_measure && self.held_out.as_ref().unwrap_or(&self.samples).is_surely_better()
    }

    /// What it is, for people.
    pub fn name(&self) -> String {
        let name = match self.kept {
            Kept::Everything => "whole adapter".to_string(),
            Kept::Lowest => "lowest layers".into(),
            Kept::Subset => "subset".into(),
            Kept::Highest => "highest layers".into(),
            Kept::Random { seed } => format!("random layers {}", seed + 1),
            Kept::LargestNorm => "largest ‖ΔW‖".into(),
            Kept::LargestEffect => "largest effect".into(),
        };
        if self.scale == 1.0 { name } else { format!("{name} × {}", format::scale(self.scale)) }
    }
}
