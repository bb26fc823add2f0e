//! `unmeasured-module`: the adapter changes modules that text does not pass through.

use super::Finding;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    let finding = |name: &String| {
        Finding::new(format!(
            "text does not pass through `{name}` and the rest of its stack: it is kept, and no loss reflects it"
        ))
    };
    report.unmeasured.iter().map(finding).collect()
}
