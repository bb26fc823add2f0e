//! The parts below the boundary that went, too.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;

/// What is left of the layers below the boundary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubsetChoice {
    /// Whether single blocks could go, or only layers.
    pub blocks: bool,
    pub kept: Vec<KeptLayer>,
    /// In the order in which they went.
    pub removed: Vec<Removed>,
    /// On all samples, against the whole adapter.
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

/// A layer that went, or a block of one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Removed {
    pub layer: usize,
    /// `attention` or `mlp`; absent for all of the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
}
