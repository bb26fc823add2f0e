//! `held-out-overlap`: held-out samples that had a part in the choice confirm it too easily.

use super::Finding;
use crate::report::{HeldOut, Report};

pub fn find(report: &Report) -> Vec<Finding> {
    report.held_out.iter().filter(|held_out| held_out.common > 0).map(finding).collect()
}

fn finding(held_out: &HeldOut) -> Finding {
    let (common, count) = (held_out.common, held_out.samples.count);
    let sentence =
        format!("{common} of the {count} held-out samples are also among those that choose: they confirm too easily");
    Finding::new(sentence).with("common", common as f64).with("held_out", count as f64)
}
