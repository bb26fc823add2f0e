//! What sizes cost: the share of the adapter's gain that each gives up, by the measure and by the guard.

use super::chart::{Chart, Frame, Strip};
use super::scale::Scale;
use crate::report::minimized::{Against, FrontierPoint};
use crate::report::{Minimized, Report};

/// The largest share that is drawn: beyond it a size is no candidate.
const MOST: f64 = 0.1;

pub fn charts(report: &Report) -> Vec<Chart> {
    let frames = [Frame::wide(300.0), Frame::narrow(280.0)].into_iter();
    frames.filter_map(|frame| draw(report, report.minimized.as_ref()?, frame)).collect()
}

fn draw(report: &Report, minimized: &Minimized, frame: Frame) -> Option<Chart> {
    let margin = report.options.as_ref()?.margin;
    // From the smallest to the largest.
    let points: Vec<&FrontierPoint> = minimized.frontier.iter().rev().collect();
    let size = |point: &FrontierPoint| (point.bytes as f64 / 1024.0).log2();
    let span = (size(points.first()?), size(points.last()?).max(size(points.first()?) + 1.0));
    let x = Scale::new(span, (frame.left + 8.0, frame.right - 8.0));
    let most = MOST.max(2.0 * margin) * 100.0;
    let y = Scale::round((0.0, most), frame.rows, (frame.bottom, frame.top));
    // Where nothing may be given up, there is no share of it.
    let given_up = |one: &Against| match one.margin > 0.0 {
        true => (100.0 * margin * one.difference / one.margin).clamp(0.0, most),
        false if one.difference > 0.0 => most,
        false => 0.0,
    };
    let place = |point: &FrontierPoint, one: &Against| (x.place(size(point)), y.place(given_up(one)));
    let strip = |point: &&FrontierPoint| {
        let worst = point.against.iter().max_by(|a, b| given_up(a).total_cmp(&given_up(b)))?;
        let (x, y) = place(point, worst);
        let sign = if point.holds == Some(true) { "point" } else { "dropped" };
        Some(Strip { x, y, sign, chosen: point.chosen })
    };
    let mut chart = Chart::new(frame, x, y, points.iter().filter_map(strip).collect());
    let (first, last) = (span.0.ceil() as i32, span.1.floor() as i32);
    let stride = (last - first) as usize / frame.columns.min(8) + 1;
    chart.columns = (first..=last).step_by(stride).map(|power| (x.place(f64::from(power)), 1 << power)).collect();
    for (index, class) in ["line", "line base"].into_iter().enumerate() {
        let line: Vec<(f64, f64)> =
            points.iter().filter_map(|point| Some(place(point, point.against.get(index)?))).collect();
        if line.len() > 1 {
            chart.line(class, &line);
        }
    }
    let height = y.place(100.0 * margin);
    chart.line("margin", &[(frame.left, height), (frame.right, height)]);
    if let Some(chosen) = points.iter().find(|point| point.chosen) {
        let middle = x.place(size(chosen)).clamp(frame.left + 40.0, frame.right - 40.0);
        chart.choice = Some((middle, crate::format::bytes(chosen.bytes)));
    }
    Some(chart)
}
