//! `only-upper-layers`: the adapter has nothing in the lower layers, so that boundaries differ within a window alone.

use super::Finding;
use crate::format::upper_layers;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    // A window was searched for already, and `cut` chooses nothing.
    let is_answered = report.window.is_some() || report.curve.is_empty();
    let layers = &report.adapter.layers;
    let first = layers.first().copied().unwrap_or(0);
    let finding = |sentence| Finding::new(sentence).with("first_layer", first as f64);
    upper_layers(layers).filter(|_| !is_answered).map(finding).into_iter().collect()
}
