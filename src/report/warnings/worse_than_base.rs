//! `worse-than-base`: the whole adapter is surely worse than the base model alone.

use super::Finding;
use crate::choice::benefit::Benefit;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (base, whole) = (report.curve.first()?, report.curve.last()?);
    (report.benefit == Some(Benefit::WorseThanBase)).then(|| {
        let sentence = format!(
            "the whole adapter is surely worse than the base model on these samples, {} instead of {}; is that the base model and the \
             format (`--chat`) of its training?",
            report.figure(whole),
            report.figure(base)
        );
        Finding::new(sentence).with("loss_base", base.loss()).with("loss_whole", whole.loss())
    })
}
