//! `thin-slices`: slices of the samples prove nothing, because they are too small, or because there is only one.

use super::Finding;
use crate::report::Report;

/// Fewer samples than this prove little.
const FEW_SAMPLES: usize = 16;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let field = report.options.as_ref()?.slice_by.as_ref()?;
    let thin = report.slices.iter().filter(|slice| slice.samples < FEW_SAMPLES).count();
    let sentence = match (report.slices.len(), thin) {
        (0, _) => format!("all samples are of one slice by `{field}`"),
        (_, 0) => return None,
        (slices, thin) => format!(
            "{thin} of {slices} slices by `{field}` have fewer than {FEW_SAMPLES} samples, too few to prove that something can be \
             dropped; give more samples"
        ),
    };
    Some(Finding::new(sentence).with("slices", report.slices.len() as f64).with("thin", thin as f64))
}
