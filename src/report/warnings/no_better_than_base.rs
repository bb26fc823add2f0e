//! `no-better-than-base`: the whole adapter has no lower loss than the base model alone.

use super::Finding;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    let ends = report.curve.first().zip(report.curve.last());
    let losses = ends.map(|(base, whole)| (base.loss(), whole.loss()));
    losses.filter(|(base, whole)| base <= whole).map(|(base, whole)| finding(base, whole)).into_iter().collect()
}

fn finding(base: f64, whole: f64) -> Finding {
    let sentence = "the whole adapter is no better than the base model on these samples; do they fit its task and format (`--chat`)?";
    Finding::new(sentence).with("loss_base", base).with("loss_whole", whole)
}
