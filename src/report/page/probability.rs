//! The probability curve: how likely the true tokens are after each layer, in the base model and with the whole adapter.

use super::chart::{Chart, Frame, Strip};
use super::scale::{Scale, stride};
use crate::report::Report;

pub fn charts(report: &Report) -> Vec<Chart> {
    [Frame::wide(300.0), Frame::narrow(280.0)].into_iter().filter_map(|frame| draw(report, frame)).collect()
}

fn draw(report: &Report, frame: Frame) -> Option<Chart> {
    let points = report.probability.as_slice();
    let end = points.last()?;
    let all = points.iter().flat_map(|point| [point.base.probability, point.adapted.probability]);
    let x = Scale::new((0.0, end.layers.max(1) as f64), (frame.left + 8.0, frame.right - 8.0));
    let y = Scale::round((0.0, all.fold(0.0, f64::max)), frame.rows, (frame.bottom, frame.top));
    let chosen = report.chosen.as_ref().map(|choice| choice.boundary());
    let place = |layers: usize, probability: f64| (x.place(layers as f64), y.place(probability));
    let base: Vec<_> = points.iter().map(|point| place(point.layers, point.base.probability)).collect();
    let adapted: Vec<_> = points.iter().map(|point| place(point.layers, point.adapted.probability)).collect();
    let strips = points.iter().zip(&adapted).map(|(point, &(x, y))| {
        let chosen = Some(point.layers) == chosen;
        Strip { x, y, sign: "point", chosen }
    });
    let mut chart = Chart::new(frame, x, y, strips.collect());
    chart.number((0..=end.layers).step_by(stride(end.layers, frame.columns)));
    chart.line("line base", &base);
    chart.line("line", &adapted);
    chart.name_ends([end.base.probability, end.adapted.probability]);
    if let Some(point) = points.iter().find(|point| Some(point.layers) == chosen) {
        chart.choose(point.layers, format!("boundary {} chosen", point.layers));
    }
    Some(chart)
}
