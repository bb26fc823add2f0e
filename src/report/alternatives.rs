//! Alternatives to what is written: a smaller scale in all layers, or other layers.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::Assessment;
use crate::choice::controls::Kept;
use crate::choice::scale::{ScalePoint, ScaledBoundary};
use crate::format;

/// The scale of what is kept.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScaleChoice {
    /// The factor of everything that the adapter adds in its layers, applied through its alpha.
    pub scale: f64,
    /// One sentence for people.
    pub reason: String,
    /// With the scale, against the whole adapter at full strength.
    #[serde(flatten)]
    pub assessment: Assessment,
    /// The scales that were tried, lowest first; absent where the scale was given.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tried: Vec<ScalePoint>,
    /// The boundaries at this scale, where one was chosen among them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub boundaries: Vec<ScaledBoundary>,
}

/// A set of layers and a scale, and what was measured with them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Alternative {
    #[serde(flatten)]
    pub kept: Kept,
    pub layers: Vec<usize>,
    pub scale: f64,
    /// The bytes of the tensors.
    pub bytes: u64,
    /// Whether this is what is (or, after `scan`, would be) written.
    pub written: bool,
    /// On the samples that choose, against what is written.
    pub samples: Assessment,
    /// On held-out samples; absent where none were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Assessment>,
}

impl Alternative {
    /// Whether this is surely better than what is written, on held-out samples if there are any, otherwise on those that
    /// choose. The original adapter and the rule's boundary at full strength are references, not alternatives.
    pub fn wins(&self) -> bool {
        let is_measure = matches!(self.kept, Kept::Everything | Kept::Lowest) && self.scale == 1.0;
        !self.written && !is_measure && self.held_out.as_ref().unwrap_or(&self.samples).is_surely_better()
    }

    /// What it is, for people.
    pub fn name(&self) -> String {
        let name = match self.kept {
            Kept::Everything => "whole adapter".to_string(),
            Kept::Lowest => "lowest layers".into(),
            Kept::Window => "window".into(),
            Kept::Subset => "subset".into(),
            Kept::Minimized => "minimized".into(),
            Kept::Highest => "highest layers".into(),
            Kept::Random { seed } => format!("random layers {}", seed + 1),
            Kept::LargestNorm => "largest ‖ΔW‖".into(),
            Kept::LargestEffect => "largest effect".into(),
        };
        if self.scale == 1.0 { name } else { format!("{name} × {}", format::scale(self.scale)) }
    }
}
