//! `unproven-help`: the samples do not show that the adapter is better than the base model.

use super::Finding;
use crate::choice::benefit::Benefit;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (base, whole) = (report.curve.first()?.loss(), report.curve.last()?.loss());
    (report.benefit == Some(Benefit::Unproven)).then(|| {
        let sentence = format!(
            "these samples do not show that the adapter helps: {whole:.4} nats per token, and {base:.4} without it; do they fit its \
             task and format (`--chat`), and are they enough?"
        );
        Finding::new(sentence).with("loss_base", base).with("loss_whole", whole)
    })
}
