//! The layers that were dropped from below.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;
use crate::search::Dropped;

/// The window of layers that is kept: those below the boundary, without the lowest ones.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WindowChoice {
    /// The lowest layer that is kept.
    pub first_layer: usize,
    /// The layers from here on are dropped, too.
    pub boundary: usize,
    /// The layers of the adapter below the window.
    pub dropped_layers: Vec<usize>,
    /// What was measured on all samples, the largest window first.
    pub from_below: Vec<WindowPoint>,
    /// What some of the samples decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dropped: Vec<DroppedWindow>,
    /// On all samples, compared with the whole adapter.
    #[serde(flatten)]
    pub assessment: Assessment,
}

/// The layers from `first_layer` up to the boundary, compared with the whole adapter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WindowPoint {
    pub first_layer: usize,
    /// The bytes of the tensors that are kept.
    pub bytes: u64,
    #[serde(flatten)]
    pub assessment: Assessment,
    /// The negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub per_sample: Vec<f64>,
    /// The probabilities of each sample's answer tokens, summed.
    pub per_sample_probability: Vec<f64>,
    /// How many answer tokens of each sample are correct.
    pub per_sample_correct: Vec<usize>,
}

/// A window for which some of the samples were enough.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DroppedWindow {
    pub first_layer: usize,
    /// The samples that it was evaluated on; 0 where its neighbours were enough.
    pub samples: usize,
    /// loss(window) − loss(whole adapter) on those samples, in nats per answer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Whether it is surely as good as `smallest` wants, but a smaller one is, too; otherwise it was ruled out.
    pub holds: bool,
}

impl DroppedWindow {
    /// A point of the curve from below a boundary, which counts the layers that are kept.
    pub fn of(dropped: &Dropped, boundary: usize) -> Self {
        let Dropped { samples, difference, holds, .. } = *dropped;
        Self { first_layer: boundary.saturating_sub(dropped.boundary), samples, difference, holds }
    }
}
