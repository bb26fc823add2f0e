//! `prefix-helps`: a part of the adapter surely helps, and the whole of it does not.

use super::Finding;
use crate::choice::benefit::Benefit;
use crate::report::{CurvePoint, Report};

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let Some(Benefit::PrefixHelps { boundary }) = report.benefit else { return None };
    let point = report.curve.iter().find(|point| point.boundary() == boundary)?;
    let [base, prefix, whole] = [report.curve.first()?, point, report.curve.last()?].map(CurvePoint::loss);
    let chosen = report.chosen.as_ref().is_some_and(|chosen| chosen.boundary() == boundary);
    let advice = if chosen { String::new() } else { format!("; `--boundary {boundary}` takes it") };
    let sentence = format!(
        "the whole adapter cannot be shown to help ({whole:.4} nats per token, base model {base:.4}), but boundary {boundary} surely \
         helps ({prefix:.4}){advice}"
    );
    let finding = Finding::new(sentence).with("boundary", boundary as f64).with("loss", prefix);
    Some(finding.with("loss_base", base).with("loss_whole", whole))
}
