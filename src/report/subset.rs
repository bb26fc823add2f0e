//! The parts below the boundary that went, too.

use schemars::JsonSchema;
use serde::Serialize;

/// What is left of the layers below the boundary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubsetChoice {
    /// Whether single blocks could go, or only layers.
    pub blocks: bool,
    pub kept: Vec<KeptLayer>,
    /// In the order in which they went.
    pub removed: Vec<Removed>,
    /// On all samples, in nats per answer token.
    pub loss: f64,
    /// (loss(base) − loss) / (loss(base) − loss(whole)); absent where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss − loss(whole).
    pub difference: f64,
    /// Its one-sided upper confidence bound; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
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
