//! What each step made of the adapter.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;

/// An adapter after a step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepDone {
    /// `layers`, the cut; `rank`; `pad-zeros`; `portable`; `dtype`.
    pub step: String,
    /// The value of the flag of that name; absent for the cut and for flags without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    pub tensors: usize,
    /// The bytes of the tensors.
    pub bytes: u64,
    /// By the last segment of module names; empty where the adapter has no plain pairs.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ranks: Vec<RankSummary>,
    /// What this step and those before did to the kept modules' ΔW, rounding included; absent for the cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<DeltaChange>,
    /// What `portable` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portable: Option<PortableSummary>,
    /// What `pad-zeros` added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<Zeros>,
    /// On the samples that chose the boundary; absent after `cut`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<Assessment>,
    /// On held-out samples, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Assessment>,
}

/// The ranks of modules of one type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RankSummary {
    pub module_type: String,
    pub modules: usize,
    pub least: usize,
    pub most: usize,
    pub mean: f64,
}

/// What all modules have in common, and what that took.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PortableSummary {
    pub rank: usize,
    pub alpha: i64,
    /// Modules whose tensors were multiplied with what their scaling was before, or with AdaLoRA's values.
    pub folded_modules: usize,
    /// Modules whose rank was filled up with zeros.
    pub padded_modules: usize,
}

/// Tensors that hold only zeros.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Zeros {
    pub tensors: usize,
    pub bytes: u64,
}

/// ‖ΔW − ΔW'‖ / ‖ΔW‖, against the adapter after the cut.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeltaChange {
    /// Over all modules together.
    pub relative: f64,
    pub largest: f64,
    /// The module of the largest.
    pub largest_module: String,
}
