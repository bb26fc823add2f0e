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
    let points = [report.curve.first()?, point, report.curve.last()?];
    let [base, prefix, whole] = points.map(|point| report.figure(point));
    let chosen = report.chosen.as_ref().is_some_and(|chosen| chosen.boundary() == boundary);
    let advice = if chosen { String::new() } else { format!("; `--boundary {boundary}` takes it") };
    let sentence = format!(
        "the whole adapter cannot be shown to help ({whole}, base model {base}), but boundary {boundary} surely helps ({prefix}){advice}"
    );
    let [base, prefix, whole] = points.map(CurvePoint::loss);
    let finding = Finding::new(sentence).with("boundary", boundary as f64).with("loss", prefix);
    Some(finding.with("loss_base", base).with("loss_whole", whole))
}
