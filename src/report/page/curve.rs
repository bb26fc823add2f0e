//! The loss over the boundaries, drawn: what was measured, how certain it is, and what only some samples decided.

use super::chart::{Chart, Frame, Strip, path};
use super::scale::{Scale, stride};
use crate::report::{CurvePoint, Report};
use crate::search::Dropped;

/// The first and the last of neighbouring boundaries that were decided without being evaluated.
fn unseen(dropped: &[Dropped]) -> Vec<(usize, usize)> {
    let mut unseen: Vec<usize> =
        dropped.iter().filter(|point| point.difference.is_none()).map(|point| point.boundary).collect();
    unseen.sort_unstable();
    unseen.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run[run.len() - 1])).collect()
}

pub fn charts(report: &Report) -> Vec<Chart> {
    let wide = Frame { rows: 6, ..Frame::wide(380.0) };
    let narrow = Frame { left: 34.0, ..Frame::narrow(320.0) };
    [wide, narrow].into_iter().filter_map(|frame| draw(report, frame)).collect()
}

fn draw(report: &Report, frame: Frame) -> Option<Chart> {
    let (base, whole) = (report.curve.first()?, report.curve.last()?);
    let last = whole.boundary();
    let x = Scale::new((0.0, last.max(1) as f64), (frame.left + 8.0, frame.right - 8.0));
    let y = Scale::round(span(report, whole.loss()), frame.rows, (frame.bottom, frame.top));
    let chosen = report.chosen.as_ref().map(|choice| choice.boundary());
    let mut chart = Chart::new(frame, x, y, strips(report, &frame, x, y));
    chart.number((0..=last).step_by(stride(last, frame.columns)));
    for (first, last) in unseen(&report.dropped) {
        chart.hatch(x.place(first as f64 - 0.5), x.place(last as f64 + 0.5));
    }
    for loss in [base.loss(), whole.loss()] {
        chart.line("level", &[(frame.left, y.place(loss)), (frame.right, y.place(loss))]);
    }
    chart.name_ends([base.loss(), whole.loss()]);
    for run in runs(report) {
        let place = |point: &CurvePoint, loss: f64| (x.place(point.boundary() as f64), y.place(loss));
        let line: Vec<_> = run.iter().map(|point| place(point, point.loss())).collect();
        let lower: Vec<_> = run.iter().map(|point| place(point, band(point)[0])).collect();
        let upper: Vec<_> = run.iter().map(|point| place(point, band(point)[1])).collect();
        chart.line("line", &line);
        if run.iter().all(|point| reach(point).is_some()) && lower != upper {
            let around: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
            let class = if run.len() == 1 { "reach" } else { "band" };
            chart.bands.push((class, path(&around) + "Z"));
        }
    }
    if let Some(point) = report.curve.iter().find(|point| Some(point.boundary()) == chosen) {
        chart.choose(point.boundary(), format!("boundary {} chosen: {:.4}", point.boundary(), point.loss()));
    }
    Some(chart)
}

/// How far the bound of the difference lies from it.
fn reach(point: &CurvePoint) -> Option<f64> {
    point
        .assessed
        .assessment
        .difference_at_most
        .map(|most| most - point.assessed.assessment.difference)
        .filter(|reach| reach.is_finite())
}

/// The lower and the upper end of the band at a point.
fn band(point: &CurvePoint) -> [f64; 2] {
    let reach = reach(point).unwrap_or(0.0);
    [point.loss() - reach, point.loss() + reach]
}

/// The estimated loss of a boundary that was evaluated on some samples: the whole adapter's loss plus the difference there.
fn estimate(point: &Dropped, whole: f64) -> Option<f64> {
    point.difference.map(|difference| whole + difference)
}

/// Neighbours on the curve without an unmeasured boundary between them: only these are joined by a line.
fn runs(report: &Report) -> impl Iterator<Item = &[CurvePoint]> {
    let candidates = report.adapter.layers.iter().map(|layer| layer + 1);
    let is_between = move |a: usize, b: usize| candidates.clone().any(|boundary| a < boundary && boundary < b);
    report.curve.chunk_by(move |a, b| !is_between(a.boundary(), b.boundary()))
}

/// The lowest and the highest value on the axis: all losses and estimates, and the whole band.
fn span(report: &Report, whole: f64) -> (f64, f64) {
    let estimates = report.dropped.iter().filter_map(|point| estimate(point, whole));
    let values = report.curve.iter().flat_map(|point| [band(point)[0], point.loss(), band(point)[1]]).chain(estimates);
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// All boundaries: measured ones filled, estimates hollow, and those that were not evaluated without a mark that could be read as
/// a loss.
fn strips(report: &Report, frame: &Frame, x: Scale, y: Scale) -> Vec<Strip> {
    let whole = report.curve.last().map_or(0.0, |whole| whole.loss());
    let chosen = report.chosen.as_ref().map(|choice| choice.boundary());
    let measured = report.curve.iter().map(|point| (point.boundary(), Some(point.loss()), "point"));
    let dropped = report.dropped.iter().map(|point| (point.boundary, estimate(point, whole), "dropped"));
    let mut points: Vec<_> = measured.chain(dropped).collect();
    points.sort_by_key(|(boundary, ..)| *boundary);
    let strip = |(boundary, loss, sign): (usize, Option<f64>, &'static str)| {
        let (y, sign) = loss.map_or((frame.bottom, ""), |loss| (y.place(loss), sign));
        Strip { x: x.place(boundary as f64), y, sign, chosen: Some(boundary) == chosen }
    };
    points.into_iter().map(strip).collect()
}
