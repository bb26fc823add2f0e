//! `not-copied`: the adapter's folder holds something that is not copied into an output.

use super::Finding;
use crate::report::Report;
use crate::rewrite::sidecars::NotCopied;

pub fn find(report: &Report) -> Vec<Finding> {
    let finding = |not_copied: &NotCopied| Finding::new(not_copied.sentence()).with("files", not_copied.count as f64);
    report.adapter.not_copied.iter().map(finding).collect()
}
