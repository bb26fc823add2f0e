//! A report as it lies on the disk: what a comparison needs of it. Versions of this program may have fewer or more fields.

use std::ffi::OsStr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::compared::{ComparedReport, ComparedScore, KeptRanks};
use crate::choice::held_out::SampleSet;
use crate::error::{FileError, Result};
use crate::files::{self, REPORT_NAME};
use crate::format::ranges;
use crate::report::{SCHEMA_VERSION, Warning};

#[derive(Debug, Deserialize)]
pub struct StoredReport {
    schema_version: u32,
    #[serde(default)]
    pub tool: StoredTool,
    pub adapter: StoredAdapterInput,
    pub base: Option<StoredBase>,
    pub samples: Option<StoredSamples>,
    pub options: Option<Value>,
    #[serde(default)]
    warnings: Vec<Warning>,
    #[serde(default)]
    curve: Vec<StoredFigures>,
    chosen: Option<StoredChoice>,
    subset: Option<StoredSubset>,
    window: Option<StoredFigures>,
    minimized: Option<StoredMinimized>,
    scale: Option<StoredScale>,
    pub held_out: Option<StoredHeldOut>,
    metrics: Option<StoredMetrics>,
    choosing_metrics: Option<StoredMetrics>,
    output: Option<StoredOutput>,
    #[serde(default)]
    steps: Vec<StoredStep>,
}

#[derive(Debug, Default, Deserialize)]
pub struct StoredTool {
    pub version: String,
}

#[derive(Debug, Deserialize)]
pub struct StoredAdapterInput {
    pub path: String,
    #[serde(default)]
    pub files: Vec<StoredFile>,
    layers: Vec<usize>,
}

#[derive(Debug, Deserialize)]
pub struct StoredFile {
    pub name: String,
    pub bytes: u64,
    pub blake3: Option<String>,
    /// In reports of `schema_version` 1, instead.
    pub sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct StoredBase {
    pub path: String,
    #[serde(default)]
    pub files: Vec<StoredFile>,
    pub quantisation: Option<String>,
    pub arithmetic: String,
}

#[derive(Debug, Deserialize)]
pub struct StoredSamples {
    pub path: String,
    pub sha256: String,
    pub count: usize,
    pub answer_tokens: usize,
    #[serde(default)]
    pub chat: bool,
    #[serde(default)]
    pub own_answers: bool,
    #[serde(default)]
    pub ignores_ends: bool,
    /// Which part of each was scored.
    pub scored: Option<String>,
}

/// What was measured of one candidate.
#[derive(Debug, Clone, Copy, Deserialize)]
struct StoredFigures {
    loss: f64,
    gain_kept: Option<f64>,
    difference: Option<f64>,
    difference_at_most: Option<f64>,
    token_probability: Option<f64>,
    token_accuracy: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct StoredChoice {
    boundary: usize,
    #[serde(flatten)]
    figures: StoredFigures,
}

#[derive(Debug, Deserialize)]
struct StoredSubset {
    #[serde(default)]
    removed: Vec<StoredRemoved>,
    #[serde(flatten)]
    figures: StoredFigures,
}

#[derive(Debug, Deserialize)]
struct StoredRemoved {
    layer: usize,
    block: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StoredMinimized {
    #[serde(default)]
    kept: Vec<StoredKept>,
    #[serde(flatten)]
    figures: StoredFigures,
}

#[derive(Debug, Deserialize)]
struct StoredKept {
    name: String,
    modules: usize,
    kept: usize,
    ranks: usize,
    ranks_before: usize,
}

#[derive(Debug, Deserialize)]
struct StoredScale {
    scale: f64,
    #[serde(flatten)]
    figures: StoredFigures,
}

#[derive(Debug, Deserialize)]
pub struct StoredHeldOut {
    pub samples: StoredSamples,
    chosen: StoredFigures,
}

#[derive(Debug, Deserialize)]
pub struct StoredMetrics {
    pub on: SampleSet,
    pub samples: usize,
    pub max_new_tokens: usize,
    #[serde(default)]
    pub stop: Vec<String>,
    #[serde(default)]
    boundaries: Vec<StoredScores>,
}

#[derive(Debug, Deserialize)]
struct StoredScores {
    #[serde(default)]
    written: bool,
    #[serde(default)]
    scores: Vec<StoredScore>,
}

#[derive(Debug, Deserialize)]
struct StoredScore {
    metric: String,
    score: f64,
}

#[derive(Debug, Deserialize)]
struct StoredOutput {
    kept_layers: Vec<usize>,
    bytes_before: u64,
    bytes_after: u64,
}

#[derive(Debug, Deserialize)]
struct StoredStep {
    step: String,
    setting: Option<String>,
    losses: Option<StoredFigures>,
    held_out: Option<StoredFigures>,
}

/// Endings of files that hold weights.
const WEIGHTS: [&str; 4] = ["safetensors", "gguf", "bin", "npz"];

/// Whether a path is a file of the results of a batch, or the folder of one.
fn holds_results(path: &Path) -> bool {
    let is_name = |name: &str| name.starts_with("results") && name.ends_with(".jsonl");
    let is_results = |path: &Path| path.file_name().and_then(OsStr::to_str).is_some_and(is_name);
    match path.read_dir() {
        Ok(entries) => !path.join(REPORT_NAME).exists() && entries.flatten().any(|entry| is_results(&entry.path())),
        Err(_) => is_results(path) && path.is_file(),
    }
}

impl StoredReport {
    /// Reads a file of JSON, or the report in a folder.
    pub fn read(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(REPORT_NAME) } else { path.into() };
        if holds_results(path) {
            return Err(FileError::ResultsOfBatch { path: path.into() }.into());
        }
        let no_report = |reason: Option<String>| FileError::NotSlimReport { path: file.clone(), reason };
        if file.extension().is_some_and(|ending| WEIGHTS.iter().any(|weights| ending == *weights)) && file.is_file() {
            return Err(no_report(None).into());
        }
        let value: Value = files::read_json(&file)?;
        // What other commands print lacks these.
        let is_report = value["adapter"].is_object() && value["schema_version"].is_number();
        let report: Self =
            serde_json::from_value(value).map_err(|error| no_report(Some(error.to_string()).filter(|_| is_report)))?;
        match report.schema_version {
            0..=SCHEMA_VERSION => Ok(report),
            later => {
                let reason = format!("its schema_version is {later}, and this program knows {SCHEMA_VERSION}");
                Err(no_report(Some(reason)).into())
            }
        }
    }

    /// The loss of the base model alone, on the samples that choose.
    pub fn loss_base(&self) -> Option<f64> {
        self.curve.first().map(|base| base.loss)
    }

    /// What is known of generated answers: on held-out samples, if there are any.
    pub fn answers(&self) -> Option<&StoredMetrics> {
        self.metrics.as_ref().or(self.choosing_metrics.as_ref())
    }

    /// What is written, measured on the samples that choose.
    fn written(&self) -> Option<StoredFigures> {
        self.output.as_ref()?;
        let after_steps = self.steps.last().and_then(|step| step.losses);
        let minimized = self.minimized.as_ref().map(|minimized| minimized.figures);
        let scaled = self.scale.as_ref().map(|scale| scale.figures);
        let subset = self.subset.as_ref().map(|subset| subset.figures);
        let chosen = self.chosen.as_ref().map(|choice| choice.figures);
        after_steps.or(minimized).or(scaled).or(subset).or(self.window).or(chosen)
    }

    /// What a comparison says of it.
    pub fn compared(&self, label: String, name: String) -> ComparedReport {
        let (written, output) = (self.written(), self.output.as_ref());
        let held_out = self.held_out.as_ref().filter(|_| output.is_some());
        let after_steps = self.steps.last().and_then(|step| step.held_out);
        ComparedReport {
            label,
            name,
            adapter: self.adapter.path.clone(),
            layers: self.adapter.layers.len(),
            boundary: self.chosen.as_ref().filter(|_| self.minimized.is_none()).map(|choice| choice.boundary),
            kept_layers: output.map(|output| output.kept_layers.clone()),
            ranks: self.ranks(),
            dropped: self.dropped(),
            bytes_before: output.map(|output| output.bytes_before),
            bytes_after: output.map(|output| output.bytes_after),
            loss_base: self.loss_base(),
            loss_whole: self.curve.last().map(|whole| whole.loss),
            loss: written.map(|written| written.loss),
            difference: written.and_then(|written| written.difference),
            difference_at_most: written.and_then(|written| written.difference_at_most),
            gain_kept: written.and_then(|written| written.gain_kept),
            token_probability: written.and_then(|written| written.token_probability),
            token_accuracy: written.and_then(|written| written.token_accuracy),
            held_out_loss: held_out.map(|held_out| after_steps.unwrap_or(held_out.chosen).loss),
            scores: self.scores(),
            warnings: self.warnings.clone(),
        }
    }

    /// The ranks that `--minimize` kept; `None` where it could drop nothing.
    fn ranks(&self) -> Option<KeptRanks> {
        let kept = &self.minimized.as_ref().filter(|minimized| !minimized.kept.is_empty())?.kept;
        let sum = |of: fn(&StoredKept) -> usize| kept.iter().map(of).sum();
        Some(KeptRanks { kept: sum(|kept| kept.ranks), before: sum(|kept| kept.ranks_before) })
    }

    /// The scores on held-out samples, if there are any.
    fn scores(&self) -> Vec<ComparedScore> {
        let Some(metrics) = self.answers() else { return Vec::new() };
        let whole = metrics.boundaries.last().map(|whole| whole.scores.as_slice()).unwrap_or_default();
        let written = metrics.boundaries.iter().find(|row| row.written && self.output.is_some());
        let of = |metric: &str| written?.scores.iter().find(|score| score.metric == metric).map(|score| score.score);
        let compared = |score: &StoredScore| ComparedScore {
            metric: score.metric.clone(),
            on: metrics.on,
            score: of(&score.metric),
            whole: score.score,
        };
        whole.iter().map(compared).collect()
    }

    /// What was dropped or changed, for people.
    fn dropped(&self) -> Vec<String> {
        let Some(output) = &self.output else { return Vec::new() };
        let layers = self.adapter.layers.iter().copied().filter(|layer| !output.kept_layers.contains(layer));
        let layers: Vec<usize> = layers.collect();
        let mut dropped = Vec::new();
        if !layers.is_empty() {
            dropped.push(format!("{} {}", if layers.len() == 1 { "layer" } else { "layers" }, ranges(&layers)));
        }
        let blocks = self.subset.iter().flat_map(|subset| &subset.removed);
        dropped.extend(blocks.filter_map(|part| Some(format!("{} of layer {}", part.block.as_ref()?, part.layer))));
        let kept = self.minimized.iter().flat_map(|minimized| &minimized.kept).filter(|kept| kept.kept < kept.modules);
        dropped.extend(
            kept.map(|kept| format!("{} of {} {}", kept.modules.saturating_sub(kept.kept), kept.modules, kept.name)),
        );
        dropped.extend(
            self.ranks().map(|ranks| format!("{} of {} ranks", ranks.before.saturating_sub(ranks.kept), ranks.before)),
        );
        dropped.extend(
            self.scale.iter().filter(|scale| scale.scale != 1.0).map(|scale| format!("scaled by {}", scale.scale)),
        );
        // The first step is the cut itself, and the ranks have their figures.
        let steps = self.steps.iter().filter(|step| !["layers", "fitted-ranks"].contains(&step.step.as_str()));
        dropped
            .extend(steps.map(|step| {
                format!("{} {}", step.step, step.setting.as_deref().unwrap_or_default()).trim_end().into()
            }));
        dropped
    }
}
