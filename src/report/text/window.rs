//! The layers that were dropped from below.

use crate::format::{plural, ranges};
use crate::report::Report;

/// What was dropped, and what that costs, in one line.
pub fn line(report: &Report) -> String {
    let Some(window) = &report.window else { return String::new() };
    let dropped = match window.dropped_layers.as_slice() {
        [] => "no layer can go from below".to_string(),
        layers => format!("{} can go from below: {}", plural(layers.len(), "layer"), ranges(layers)),
    };
    let gain = window.assessment.gain_kept;
    let kept = gain.map_or(String::new(), |gain| format!(", {:.1} % of the adapter's gain kept", gain * 100.0));
    format!("{dropped}; loss {:.4}{kept}\n", window.assessment.loss)
}
