//! The adapter after each step.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;
use crate::rewrite::steps::StepDetails;
use crate::rewrite::{DeltaChange, RankSummary};

/// An adapter after a step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepDone {
    /// `layers` for the cut, else the name of the step's flag.
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
    /// How this step and those before changed the ΔW of the kept modules, rounding included; absent for the cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<DeltaChange>,
    #[serde(flatten)]
    pub details: StepDetails,
    /// What not every reader of the adapter can deal with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<&'static str>,
    /// On the samples that chose the boundary; absent after `cut`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<Assessment>,
    /// On held-out samples, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Assessment>,
}
