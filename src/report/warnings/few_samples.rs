//! `few-samples`: a rule chose by too few samples to prove anything with. Those that repeat others count once.

use super::Finding;
use crate::choice::rules::BOUNDARY;
use crate::format::plural;
use crate::report::Report;

/// Fewer samples than this prove little.
const FEW: usize = 16;

pub fn find(report: &Report) -> Vec<Finding> {
    let chooses = report.options.as_ref().is_some_and(|options| options.rule != BOUNDARY);
    let count = report.samples.as_ref().filter(|_| chooses).map(|samples| samples.draws);
    count.filter(|&count| count < FEW).map(finding).into_iter().collect()
}

fn finding(count: usize) -> Finding {
    let are = if count == 1 { "is" } else { "are" };
    let sentence =
        format!("{} {are} few to prove anything with; 64 or more are better", plural(count, "different sample"));
    Finding::new(sentence).with("samples", count as f64)
}
