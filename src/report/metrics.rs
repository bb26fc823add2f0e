//! The scores of generated answers at a few boundaries: task quality, beside the loss.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::held_out::{HeldOutScore, SampleSet};
use crate::metrics::{Difference, Score};

/// The scores of greedily generated answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TaskMetrics {
    pub on: SampleSet,
    pub samples: usize,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// The texts of `--stop`, which end an answer; absent without it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stop: Vec<String>,
    /// The one-sided confidence of each bound of a difference.
    pub confidence: f64,
    /// The base model first, the whole adapter last, and between them what is written, the boundaries with the lowest
    /// losses and those of `--answers-at`.
    pub boundaries: Vec<BoundaryScores>,
    /// Samples whose answer the choice changes: those whose scores fall most first, those whose scores rise most last.
    /// Absent without `--report`, and in the report of an adapter folder.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub examples: Vec<ChangedAnswer>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BoundaryScores {
    pub boundary: usize,
    /// Whether this is what is (or, after `scan`, would be) written: the chosen boundary, with its scale if it has one.
    pub written: bool,
    /// Its name, if it is not a boundary at full strength: `16 × 0.5`, `subset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub scores: Vec<MetricScore>,
    /// The answer to each sample; absent without `--with-texts`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub answers: Vec<String>,
    /// The answers that did not end within `max_new_tokens` and the model's context.
    pub cut_off: usize,
    /// The answers that a text of `--stop` ended; absent without it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stopped_by_text: Option<usize>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MetricScore {
    pub metric: Score,
    /// Of all answers together, from 0 to 100; of a scorer, the mean of its numbers.
    pub score: f64,
    /// As `score`, of each answer alone.
    pub per_sample: Vec<f64>,
    /// The difference from the whole adapter's score on the same samples.
    #[serde(flatten)]
    pub to_whole: Difference,
}

/// A sample and the answers at each boundary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedAnswer {
    /// The line (or, in a JSON array, the place) in the file, counted from 1.
    pub line: usize,
    /// The end of the prompt; absent for samples that are tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    pub reference: String,
    pub answers: Vec<BoundaryAnswer>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BoundaryAnswer {
    pub boundary: usize,
    pub written: bool,
    pub text: String,
}

impl BoundaryScores {
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.boundary.to_string())
    }
}

impl TaskMetrics {
    /// How a score of what is written compares with the whole adapter's, whose gain over the base model gives a margin of this share.
    pub fn written_to_whole(&self, kind: Score, share: f64) -> Option<HeldOutScore> {
        let of = |row: &BoundaryScores| row.scores.iter().find(|score| score.metric == kind).cloned();
        let (written, base, whole) =
            (of(self.written()?)?, of(self.boundaries.first()?)?, of(self.boundaries.last()?)?);
        let margin = share * (whole.score - base.score).max(0.0);
        Some(HeldOutScore { name: kind, to_whole: written.to_whole, margin })
    }

    /// The scores of what is written.
    pub fn written(&self) -> Option<&BoundaryScores> {
        self.boundaries.iter().find(|scores| scores.written)
    }
}
