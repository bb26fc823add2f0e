//! `better-alternative`: something else that was measured is surely better than what is written.

use super::Finding;
use crate::report::Report;
use crate::report::text::alternatives::finding;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(&report.alternatives).map(Finding::new).into_iter().collect()
}
