//! The two curves of a window: the loss without the lowest layers, and without as many of the highest ones.

use super::chart::{Chart, Frame, Strip};
use super::scale::{Scale, stride};
use crate::report::{Report, WindowChoice};

pub fn charts(report: &Report) -> Vec<Chart> {
    let frames = [Frame::wide(300.0), Frame::narrow(280.0)].into_iter();
    frames.filter_map(|frame| draw(report, report.window.as_ref()?, frame)).collect()
}

fn draw(report: &Report, window: &WindowChoice, frame: Frame) -> Option<Chart> {
    let layers = &report.adapter.layers;
    let (base, whole) = (report.curve.first()?.loss(), report.curve.last()?.loss());
    // In the order of the points of the report: the fewest dropped layers first.
    let from_below: Vec<(usize, f64)> = window
        .from_below
        .iter()
        .map(|point| (layers.partition_point(|&layer| layer < point.first_layer), point.assessment.loss))
        .collect();
    let from_above = report
        .curve
        .iter()
        .rev()
        .map(|point| (layers.len() - layers.partition_point(|&layer| layer < point.boundary()), point.loss()));
    let from_above: Vec<(usize, f64)> = from_above.collect();
    let losses = || from_below.iter().chain(&from_above).map(|(_, loss)| *loss);
    let span = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
    let x = Scale::new((0.0, layers.len().max(1) as f64), (frame.left + 8.0, frame.right - 8.0));
    let y = Scale::round(span, frame.rows, (frame.bottom, frame.top));
    let place = |&(dropped, loss): &(usize, f64)| (x.place(dropped as f64), y.place(loss));
    let chosen = window.dropped_layers.len();
    let strip = |point: &(usize, f64)| {
        let (x, y) = place(point);
        Strip { x, y, sign: "point", chosen: point.0 == chosen }
    };
    let mut chart = Chart::new(frame, x, y, from_below.iter().map(strip).collect());
    chart.number((0..=layers.len()).step_by(stride(layers.len(), frame.columns)));
    chart.line("line base", &from_above.iter().map(place).collect::<Vec<_>>());
    chart.line("line", &from_below.iter().map(place).collect::<Vec<_>>());
    chart.name_ends([base, whole]);
    if from_below.iter().any(|(dropped, _)| *dropped == chosen) {
        chart.choose(chosen, format!("{chosen} dropped from below"));
    }
    Some(chart)
}
