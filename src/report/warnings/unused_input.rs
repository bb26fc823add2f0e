//! `unused-input`: the inputs hold something that is not used, or not as it is written.

use super::Finding;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    report.remarks.iter().map(Finding::new).collect()
}
