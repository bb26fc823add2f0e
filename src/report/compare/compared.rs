//! What a comparison says of one report.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::held_out::SampleSet;
use crate::report::Warning;

/// What one report says. Figures that it does not have are absent. Losses are in nats per answer token, shares are fractions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ComparedReport {
    /// `A`, `B`, …: how tables name it.
    pub label: String,
    /// The report as the user named it.
    pub name: String,
    pub adapter: String,
    /// How many layers the adapter has.
    pub layers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary: Option<usize>,
    /// Absent where nothing is to be written, as are the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_layers: Option<Vec<usize>>,
    /// The sums of the ranks of all modules, after `--minimize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<KeptRanks>,
    /// What was dropped or changed, for people.
    pub dropped: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_base: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_whole: Option<f64>,
    /// Of what is written, on the samples that choose, as are the figures that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// From the whole adapter's loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference_at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_kept: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_probability: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_accuracy: Option<f64>,
    /// The loss of what is written on held-out samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ComparedScore>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Ranks, summed over all modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptRanks {
    pub kept: usize,
    pub before: usize,
}

/// A score of generated answers, of what is written and of the whole adapter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ComparedScore {
    pub metric: String,
    pub on: SampleSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    pub whole: f64,
}

impl ComparedReport {
    pub fn score(&self, metric: &str) -> Option<f64> {
        self.scores.iter().find(|score| score.metric == metric)?.score
    }

    /// The share of the bytes that is saved.
    pub fn saved(&self) -> Option<f64> {
        let (before, after) = (self.bytes_before.filter(|before| *before > 0)?, self.bytes_after?);
        Some(1.0 - after as f64 / before as f64)
    }
}
