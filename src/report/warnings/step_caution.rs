//! `step-caution`: a step after the cut has a consequence that not every reader of the adapter can deal with.

use super::Finding;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    report.steps.iter().filter_map(|step| step.caution).map(Finding::new).collect()
}
