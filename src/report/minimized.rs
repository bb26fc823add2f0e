//! The smallest adapter, and the sizes that were measured on the way to it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::{Assessment, Criterion};

/// What `--minimize` found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Minimized {
    /// `bytes`, `loss` or `common`.
    pub objective: &'static str,
    /// The adapters that it was chosen for, if those are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<usize>,
    /// Whether all modules that are kept have the same rank.
    pub same_rank: bool,
    /// What is kept, by type of module; empty where nothing smaller could be shown to hold, and everything is kept as it is.
    pub kept: Vec<KeptType>,
    /// Sizes that were measured, the largest first.
    pub frontier: Vec<FrontierPoint>,
    /// The samples that said what to keep, and those that tested it.
    pub ranking_samples: usize,
    pub testing_samples: usize,
    /// What is written, on all samples, compared with the whole adapter.
    #[serde(flatten)]
    pub assessment: Assessment,
}

/// What is kept of the modules of one type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct KeptType {
    /// `q_proj`
    pub name: String,
    pub modules: usize,
    pub kept: usize,
    pub largest_rank: usize,
    /// The sum of the ranks of all modules, as kept and as they were.
    pub ranks: usize,
    pub ranks_before: usize,
}

/// The samples that a size was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SampleRole {
    /// Those that steered the search: the figures flatter.
    Ranking,
    /// Those that had no part in it.
    Testing,
}

/// An adapter of one size.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FrontierPoint {
    /// The bytes of its tensors, as they are written.
    pub bytes: u64,
    /// The modules that it keeps, and the sum of their ranks.
    pub modules: usize,
    pub ranks: usize,
    pub role: SampleRole,
    pub samples: usize,
    /// By the measure and by the guard.
    pub against: Vec<Against>,
    /// The one-sided confidence of its bounds.
    pub confidence: f64,
    /// Whether it passed the test; absent where it was not tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    pub chosen: bool,
}

/// A comparison with the whole adapter, per answer token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Against {
    pub measure: Criterion,
    /// What it costs more than the whole adapter.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// What it may cost more.
    pub margin: f64,
}
