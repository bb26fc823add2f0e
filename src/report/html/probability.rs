//! The probability curve: how likely the true tokens are behind each layer, in the base model and with the whole adapter.

use super::element::{Element, el};
use super::scale::{Scale, apart, stride};
use super::svg::{circle, grid, line, path, words};
use super::words as numbers;
use super::{Report, column, paragraph, part, scrolling};
use crate::report::{Likelihood, ProbabilityPoint};

struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    right: f64,
    columns: usize,
    base: &'static str,
    whole: &'static str,
}

const FRAMES: [Frame; 2] = [
    Frame {
        class: "wide",
        width: 880.0,
        height: 300.0,
        right: 138.0,
        columns: 20,
        base: "base model",
        whole: "whole adapter",
    },
    Frame { class: "narrow", width: 360.0, height: 280.0, right: 58.0, columns: 7, base: "base", whole: "whole" },
];

const LEFT: f64 = 48.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 48.0;
/// The height of a name with its number.
const NAME: f64 = 32.0;

pub fn section(report: &Report) -> Option<Element> {
    let points = report.probability.as_slice();
    let last = points.last()?;
    let chosen = report.chosen.as_ref().map(|choice| choice.boundary);
    let shown = points.iter().find(|point| Some(point.layers) == chosen).unwrap_or(last);
    let explained = "The mean probability of the answer tokens, given all true tokens before them, if the model ended behind \
                     that many layers: its final norm and its head are applied to the hidden states there. It shows where \
                     the answer takes shape, not what a boundary costs: the losses say that.";
    let key = |class: &'static str, text: &str| {
        el("li").add(el("span").attr("class", format!("key {class}")).attr("aria-hidden", "true")).text(text)
    };
    let keys = [key("key-line", "with the whole adapter"), key("key-base", "base model")];
    let figure = el("figure")
        .class("chart")
        .all(FRAMES.iter().map(|frame| draw(frame, points, chosen)))
        .add(paragraph("readout", told(shown)).attr("aria-live", "polite"))
        .add(el("ul").class("legend").all(keys));
    let table = el("details").add(el("summary").text("All layers in numbers")).add(table(points, chosen));
    let part = part("probability", "How likely the true tokens are behind each layer");
    Some(part.add(paragraph("", explained)).add(figure).add(table))
}

fn draw(frame: &Frame, points: &[ProbabilityPoint], chosen: Option<usize>) -> Element {
    let (right, bottom) = (frame.width - frame.right, frame.height - BOTTOM);
    let all = points.iter().flat_map(|point| [point.base.probability, point.adapted.probability]);
    let last = points.len().saturating_sub(1);
    let x = Scale::new((0.0, last.max(1) as f64), (LEFT + 8.0, right - 8.0));
    let y = Scale::round((0.0, all.fold(0.0, f64::max)), 5, (bottom, TOP));
    let column = |layers: usize| x.place(layers as f64);
    let curve = |of: fn(&ProbabilityPoint) -> &Likelihood| -> Vec<(f64, f64)> {
        points.iter().map(|point| (column(point.layers), y.place(of(point).probability))).collect()
    };
    let (base, adapted) = (curve(|point| &point.base), curve(|point| &point.adapted));
    let drawn = |class: &'static str, places: &[(f64, f64)]| el("path").class(class).attr("d", path(places));
    el("svg")
        .class(frame.class)
        .attr("viewBox", format_args!("0 0 {} {}", frame.width, frame.height))
        .attr("role", "img")
        .attr("aria-label", description(points, chosen))
        .attr("tabindex", 0)
        .all(grid(&y, (LEFT, right)))
        .all(
            (0..=last)
                .step_by(stride(last, frame.columns))
                .map(|layers| words("mark", "middle", (column(layers), bottom + 18.0), layers)),
        )
        .add(words("label", "start", (0.0, 14.0), "mean probability of an answer token"))
        .add(words("label", "middle", ((LEFT + right) / 2.0, bottom + 38.0), "layers gone through"))
        .all(choice(points, chosen, &x, (bottom, frame.width)))
        .add(drawn("line base", &base))
        .add(drawn("line", &adapted))
        .all(adapted.iter().map(|&place| circle("point", place, 2.5)))
        .all(names(frame, points, &y, right))
        .all(targets(points, chosen, &adapted, (right, bottom)))
}

/// The chosen boundary: a line with its name above.
fn choice(points: &[ProbabilityPoint], chosen: Option<usize>, x: &Scale, (bottom, width): (f64, f64)) -> Vec<Element> {
    let Some(point) = points.iter().find(|point| Some(point.layers) == chosen) else { return Vec::new() };
    let place = x.place(point.layers as f64);
    let name = format!("boundary {} chosen", point.layers);
    let half = 3.6 * name.chars().count() as f64;
    let middle = place.clamp(LEFT + half, (width - half - 4.0).max(LEFT + half));
    vec![
        line("choice", (place, TOP - 16.0), (place, bottom)),
        words("choice-name", "middle", (middle, TOP - 22.0), name),
    ]
}

/// The names of both curves beside their ends.
fn names(frame: &Frame, points: &[ProbabilityPoint], y: &Scale, right: f64) -> Vec<Element> {
    let Some(last) = points.last() else { return Vec::new() };
    let ends = [(frame.base, last.base.probability), (frame.whole, last.adapted.probability)];
    let places = apart(ends.map(|(_, probability)| y.place(probability)), NAME);
    let name = |((name, probability), place): ((&'static str, f64), f64)| {
        [
            words("level-name", "start", (right + 6.0, place - 3.0), name),
            words("level-loss", "start", (right + 6.0, place + 12.0), format!("{probability:.4}")),
        ]
    };
    ends.into_iter().zip(places).flat_map(name).collect()
}

/// What is pointed at: a strip for each number of layers, with its words.
fn targets(
    points: &[ProbabilityPoint],
    chosen: Option<usize>,
    adapted: &[(f64, f64)],
    (right, bottom): (f64, f64),
) -> Vec<Element> {
    let strip = |(index, point): (usize, &ProbabilityPoint)| {
        let (x, _) = adapted[index];
        let from = if index == 0 { LEFT } else { (adapted[index - 1].0 + x) / 2.0 };
        let to = adapted.get(index + 1).map_or(right, |(next, _)| (x + next) / 2.0);
        let area = el("rect")
            .attr("x", format_args!("{from:.1}"))
            .attr("y", TOP)
            .attr("width", format_args!("{:.1}", to - from))
            .attr("height", bottom - TOP);
        let class = if Some(point.layers) == chosen { "target first" } else { "target" };
        el("g").class(class).add(el("title").text(told(point))).add(area).add(circle("halo", adapted[index], 7.0))
    };
    points.iter().enumerate().map(strip).collect()
}

fn told(point: &ProbabilityPoint) -> String {
    let (base, adapted) = (&point.base, &point.adapted);
    format!(
        "Behind {}: probability {:.4} with the adapter, {:.4} in the base model; loss {:.4} and {:.4}",
        numbers::plural(point.layers, "layer"),
        adapted.probability,
        base.probability,
        adapted.loss,
        base.loss
    )
}

/// The drawing in words.
fn description(points: &[ProbabilityPoint], chosen: Option<usize>) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let from_to = |of: fn(&ProbabilityPoint) -> &Likelihood| {
        format!("from {:.4} to {:.4}", of(first).probability, of(last).probability)
    };
    let mut text = format!(
        "Mean probability of the true tokens behind 0 to {} layers: {} in the base model, {} with the whole adapter",
        last.layers,
        from_to(|point| &point.base),
        from_to(|point| &point.adapted)
    );
    if let Some(point) = points.iter().find(|point| Some(point.layers) == chosen) {
        text += &format!(", {:.4} at boundary {}, which is chosen", point.adapted.probability, point.layers);
    }
    text + ". The table of all layers has the numbers."
}

fn table(points: &[ProbabilityPoint], chosen: Option<usize>) -> Element {
    let heads = ["layers", "base model", "whole adapter", "loss, base", "loss, adapter"];
    let head = el("tr").all(heads.map(|head| column("number", head)));
    let row = |point: &ProbabilityPoint| {
        let values = [point.base.probability, point.adapted.probability, point.base.loss, point.adapted.loss];
        el("tr")
            .class(if Some(point.layers) == chosen { "chosen" } else { "" })
            .add(el("th").class("number").attr("scope", "row").text(point.layers))
            .all(values.map(|value| el("td").class("number").add(numbers::loss(value))))
    };
    let table = el("table").add(el("thead").add(head)).add(el("tbody").all(points.iter().map(row)));
    scrolling("probability behind all layers", table)
}
