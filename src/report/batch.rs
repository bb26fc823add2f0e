//! The result of one adapter of a batch, or of a place where one may be: a line of `results.jsonl`, and a row of the summary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metrics::BoundaryScores;
use super::{CurvePoint, Report, SCHEMA_VERSION, Warning};
use crate::choice::Choice;
use crate::error::{Error, Kind};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The adapter is written.
    Done,
    /// The answer is no: the adapter does not help, or a gate was not passed.
    Refused,
    Failed,
    /// No adapter, but a place that was not searched for adapters.
    #[serde(rename = "left-out")]
    LeftOut,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Refused => "refused",
            Status::Failed => "failed",
            Status::LeftOut => "left-out",
        }
    }
}

/// A job and its result. Nothing in it depends on the clock or on the other jobs of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The folder below the output.
    pub name: String,
    #[serde(default)]
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    pub adapter: String,
    pub status: Status,
    /// The exit code of the job as a single command.
    pub exit_code: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub found: Option<KeyFigures>,
    /// What the user should know before trusting the result.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The page beside the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The hash of the job's inputs; if it changes, the job is done again.
    pub stamp: String,
    /// The files that were written, relative to the folder that the output lies in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The hash of their names, sizes and samples of their bytes; if it changes, the job is done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// The hash of all their bytes, for `--check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether its adapter is no longer among the inputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// The most important figures of a report. Losses are in nats per answer token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyFigures {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<usize>,
    /// Layers of the adapter.
    pub layers: usize,
    /// Absent, like the bytes, where nothing is to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_layers: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_base: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_whole: Option<f64>,
    /// Of what is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_kept: Option<f64>,
    /// The share of answer tokens that are the likeliest: of what is written, and of the whole adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_whole: Option<f64>,
    /// The name of the first score of generated answers, and the scores; absent without `--metric`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_whole: Option<f64>,
}

impl Record {
    /// The record of a job that failed, with its error.
    pub fn failed(name: &str, adapter: &str, error: &Error, stamp: String) -> Self {
        let status = if error.kind().is_refusal() { Status::Refused } else { Status::Failed };
        Self {
            name: name.into(),
            schema_version: SCHEMA_VERSION,
            adapter: adapter.into(),
            status,
            exit_code: error.kind().exit_code(),
            error: Some(error.to_string()),
            hint: error.hint(),
            found: None,
            warnings: Vec::new(),
            page: None,
            stamp,
            files: Vec::new(),
            written: None,
            content: None,
            removed: false,
        }
    }

    /// The record of a place that was not searched for adapters, with the reason. It has exit code 0.
    pub fn left_out(name: &str, path: &str, reason: &Error) -> Self {
        let record = Self::failed(name, path, reason, String::new());
        Self { status: Status::LeftOut, exit_code: 0, ..record }
    }

    pub fn done(name: &str, adapter: &str, report: &Report, stamp: String) -> Self {
        Self {
            name: name.into(),
            schema_version: SCHEMA_VERSION,
            adapter: adapter.into(),
            status: Status::Done,
            exit_code: 0,
            error: None,
            hint: None,
            found: Some(KeyFigures::of(report)),
            warnings: report.warnings.clone(),
            page: None,
            stamp,
            files: Vec::new(),
            written: None,
            content: None,
            removed: false,
        }
    }

    /// Whether the same inputs would give the same result. A full disk may have room again, and an output may be gone.
    pub fn is_final(&self) -> bool {
        match Kind::of_exit_code(self.exit_code) {
            None => true,
            Some(kind) => kind == Kind::BadInput || kind.is_refusal(),
        }
    }
}

impl KeyFigures {
    pub fn of(report: &Report) -> Self {
        let (output, written) = (report.output.as_ref(), report.written_on_choosing());
        let metrics = report.metrics.as_ref().or(report.choosing_metrics.as_ref());
        let first = |row: &BoundaryScores| row.scores.first().map(|score| (score.metric.name(), score.score));
        let score = metrics.and_then(|metrics| first(metrics.written()?));
        let score_whole = metrics.and_then(|metrics| first(metrics.boundaries.last()?));
        Self {
            boundary: report.chosen.as_ref().map(Choice::boundary),
            layers: report.adapter.layers.len(),
            kept_layers: output.map(|output| output.kept_layers.len()),
            bytes_before: output.map(|output| output.bytes_before),
            bytes_after: output.map(|output| output.bytes_after),
            loss_base: report.curve.first().map(CurvePoint::loss),
            loss_whole: report.curve.last().map(CurvePoint::loss),
            loss: written.map(|written| written.assessment.loss),
            gain_kept: written.and_then(|written| written.assessment.gain_kept),
            accuracy: written.map(|written| written.assessment.token_accuracy),
            accuracy_whole: report.curve.last().map(|whole| whole.assessed.assessment.token_accuracy),
            metric: score_whole.map(|(name, _)| name.into()),
            score: score.map(|(_, score)| score),
            score_whole: score_whole.map(|(_, score)| score),
        }
    }

    /// The share of the bytes that is left.
    pub fn bytes_kept(&self) -> Option<f64> {
        let (before, after) = (self.bytes_before.filter(|before| *before > 0)?, self.bytes_after?);
        Some(after as f64 / before as f64)
    }
}
