//! `held-out-overlap`: samples that had a part in the choice would confirm it too easily, so that they were left out.

use super::Finding;
use crate::report::{HeldOut, Report};

pub fn find(report: &Report) -> Vec<Finding> {
    report.held_out.iter().filter_map(finding).collect()
}

fn finding(held_out: &HeldOut) -> Option<Finding> {
    let (copies, near, left) = (held_out.left_out.copies, held_out.left_out.near_duplicates, held_out.samples.count);
    let all = copies + near + left;
    (copies + near > 0).then(|| {
        let sentence = format!(
            "{} of the {all} held-out samples are, or nearly are, among those that choose: they would confirm the choice too \
             easily and do not count",
            copies + near
        );
        Finding::new(sentence)
            .with("copies", copies as f64)
            .with("near_duplicates", near as f64)
            .with("held_out", left as f64)
    })
}
