//! Strokes and words of drawings, with their places rounded to what can be seen.

use std::fmt::{Display, Write};

use super::element::{Element, el};
use super::scale::Scale;

/// Straight strokes from point to point, as `d` of a path.
pub fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(text, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    text
}

pub fn line(class: &'static str, from: (f64, f64), to: (f64, f64)) -> Element {
    el("path").class(class).attr("d", path(&[from, to]))
}

pub fn circle(class: &'static str, (x, y): (f64, f64), radius: f64) -> Element {
    el("circle").class(class).attr("cx", format_args!("{x:.1}")).attr("cy", format_args!("{y:.1}")).attr("r", radius)
}

pub fn words(class: &'static str, anchor: &'static str, (x, y): (f64, f64), text: impl Display) -> Element {
    let text_element = el("text").class(class).attr("text-anchor", anchor);
    text_element.attr("x", format_args!("{x:.1}")).attr("y", format_args!("{y:.1}")).text(text)
}

/// A line with its number for each mark of a vertical axis, from `left` to `right`.
pub fn grid(y: &Scale, (left, right): (f64, f64)) -> Vec<Element> {
    let (marks, decimals) = y.marks();
    let mark = |value: f64| {
        let place = y.place(value);
        let number = words("mark", "end", (left - 6.0, place + 4.0), format_args!("{value:.decimals$}"));
        [line("grid", (left, place), (right, place)), number]
    };
    marks.into_iter().flat_map(mark).collect()
}
