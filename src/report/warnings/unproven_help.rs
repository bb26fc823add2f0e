//! `unproven-help`: the samples do not show that the adapter is better than the base model.

use super::Finding;
use crate::choice::benefit::Benefit;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (base, whole) = (report.curve.first()?, report.curve.last()?);
    (report.benefit == Some(Benefit::Unproven)).then(|| {
        let sentence = format!(
            "these samples do not show that the adapter helps: {}, and {} without it; do they fit its task and format (`--chat`), and \
             are they enough?",
            report.figure(whole),
            report.figure(base)
        );
        Finding::new(sentence).with("loss_base", base.loss()).with("loss_whole", whole.loss())
    })
}
