//! `worse-than-base`: the whole adapter is surely worse than the base model alone.

use super::Finding;
use crate::choice::benefit::Benefit;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (base, whole) = (report.curve.first()?.loss(), report.curve.last()?.loss());
    (report.benefit == Some(Benefit::WorseThanBase)).then(|| {
        let sentence = format!(
            "the whole adapter is surely worse than the base model on these samples, {whole:.4} instead of {base:.4} nats per token; is \
             that the base model and the format (`--chat`) of its training?"
        );
        Finding::new(sentence).with("loss_base", base).with("loss_whole", whole)
    })
}
