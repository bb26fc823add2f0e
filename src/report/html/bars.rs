//! One bar for each layer, kept ones filled and dropped ones hollow.

use super::element::{Element, el};
use super::scale::{Scale, stride};
use super::svg::{grid, words};

pub struct Bar {
    pub layer: usize,
    /// Absent where there is nothing to show.
    pub value: Option<f64>,
    pub kept: bool,
    pub text: String,
}

struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    columns: usize,
}

const FRAMES: [Frame; 2] = [
    Frame { class: "wide", width: 880.0, height: 230.0, columns: 34 },
    Frame { class: "narrow", width: 360.0, height: 210.0, columns: 12 },
];

const LEFT: f64 = 48.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 44.0;

/// The drawing, for wide and for narrow screens. `label` names the values and their unit, `description` says it all in
/// words.
pub fn draw(bars: &[Bar], label: &str, description: &str) -> Vec<Element> {
    FRAMES.iter().map(|frame| draw_in(frame, bars, label, description)).collect()
}

fn draw_in(frame: &Frame, bars: &[Bar], label: &str, description: &str) -> Element {
    let (right, bottom) = (frame.width - RIGHT, frame.height - BOTTOM);
    let highest = bars.iter().filter_map(|bar| bar.value).fold(0.0, f64::max);
    let y = Scale::round((0.0, highest), 4, (bottom, TOP));
    let room = (right - LEFT) / bars.len().max(1) as f64;
    let middle = |index: usize| LEFT + room * (index as f64 + 0.5);
    let every = stride(bars.len(), frame.columns);
    let numbered = bars.iter().enumerate().filter(|(_, bar)| bar.layer % every == 0);
    el("svg")
        .class(frame.class)
        .attr("viewBox", format_args!("0 0 {} {}", frame.width, frame.height))
        .attr("role", "img")
        .attr("aria-label", description)
        .attr("tabindex", 0)
        .all(grid(&y, (LEFT, right)))
        .all(bars.iter().enumerate().map(|(index, bar)| column(bar, &y, (middle(index), room), bottom)))
        .all(numbered.map(|(index, bar)| words("mark", "middle", (middle(index), bottom + 18.0), bar.layer)))
        .add(words("label", "start", (0.0, 14.0), label))
        .add(words("label", "middle", ((LEFT + right) / 2.0, bottom + 38.0), "layer"))
}

fn column(bar: &Bar, y: &Scale, (middle, room): (f64, f64), bottom: f64) -> Element {
    let rect = |class: &'static str, width: f64, top: f64| {
        el("rect")
            .class(class)
            .attr("x", format_args!("{:.1}", middle - width / 2.0))
            .attr("y", format_args!("{top:.1}"))
            .attr("width", format_args!("{width:.1}"))
            .attr("height", format_args!("{:.1}", bottom - top))
    };
    let class = if bar.kept { "bar kept" } else { "bar" };
    let shown = bar.value.map(|value| rect(class, (room * 0.7).min(24.0), y.place(value)));
    el("g").class("target").add(el("title").text(&bar.text)).add(rect("area", room, TOP)).all(shown)
}
