//! A bar for each layer of the adapter: how much it changes the base model, and how many bytes it takes.

use super::chart::{Chart, Frame, Strip};
use super::scale::{Scale, stride};
use crate::report::{LayerShare, Report};

/// The bytes of layers, in a unit that fits the largest.
pub fn sizes(report: &Report) -> (&'static str, [Chart; 2]) {
    const UNITS: [(&str, f64); 4] = [("GiB", 1073741824.0), ("MiB", 1048576.0), ("KiB", 1024.0), ("bytes", 1.0)];
    let largest = report.layers.iter().map(|layer| layer.bytes).max().unwrap_or(0) as f64;
    let (unit, size) = UNITS.into_iter().find(|(_, size)| largest >= *size).unwrap_or(UNITS[3]);
    (unit, charts(report, |layer| Some(layer.bytes as f64 / size)))
}

/// ‖ΔW‖ of layers.
pub fn norms(report: &Report) -> [Chart; 2] {
    charts(report, |layer| layer.norm)
}

fn charts(report: &Report, value: impl Fn(&LayerShare) -> Option<f64>) -> [Chart; 2] {
    let wide = Frame { right: 872.0, top: 30.0, columns: 34, rows: 4, ..Frame::wide(230.0) };
    let narrow = Frame { right: 352.0, top: 30.0, columns: 12, rows: 4, ..Frame::narrow(210.0) };
    [wide, narrow].map(|frame| draw(&report.layers, frame, &value))
}

fn draw(layers: &[LayerShare], frame: Frame, value: impl Fn(&LayerShare) -> Option<f64>) -> Chart {
    let count = layers.len().max(1);
    // Bars are numbered consecutively, because an adapter may lack layers; each is centred in its slot.
    let half = (frame.right - frame.left) / count as f64 / 2.0;
    let x = Scale::new((0.0, count as f64), (frame.left + half, frame.right + half));
    let highest = layers.iter().filter_map(&value).fold(0.0, f64::max);
    let y = Scale::round((0.0, highest), frame.rows, (frame.bottom, frame.top));
    let strip = |(place, layer): (usize, &LayerShare)| {
        let sign = value(layer).map_or("", |_| if layer.kept { "bar kept" } else { "bar" });
        Strip { x: x.place(place as f64), y: y.place(value(layer).unwrap_or(0.0)), sign, chosen: false }
    };
    let mut chart = Chart::new(frame, x, y, layers.iter().enumerate().map(strip).collect());
    let every = stride(count, frame.columns);
    let numbered = layers.iter().enumerate().filter(|(_, layer)| layer.layer % every == 0);
    chart.columns = numbered.map(|(place, layer)| (x.place(place as f64), layer.layer.to_string())).collect();
    chart
}
