//! The parts below the boundary that were dropped, too.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;

/// What is left of the layers below the boundary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubsetChoice {
    /// Whether single blocks could be dropped, or only layers.
    pub blocks: bool,
    pub kept: Vec<KeptLayer>,
    /// In the order in which they were dropped.
    pub removed: Vec<Removed>,
    /// On all samples, compared with the whole adapter.
    #[serde(flatten)]
    pub assessment: Assessment,
}

/// What is kept of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct KeptLayer {
    pub layer: usize,
    pub attention: bool,
    pub mlp: bool,
}

/// A layer that was dropped, or a block of one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Removed {
    pub layer: usize,
    /// `attention` or `mlp`; absent for the whole layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
}
