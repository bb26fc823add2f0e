//! The curve as SVG. It is drawn twice, for wide and for narrow screens, so that its words are legible on both.

use super::data::{Data, Measured, Ruled};
use crate::report::html::element::{Element, el};
use crate::report::html::scale::{Scale, apart, stride};
use crate::report::html::svg::{circle, line, path, words};

/// The size of a drawing and the room around the curve, in units that are about a pixel.
pub struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// The room for marks on either axis.
    columns: usize,
    rows: usize,
    /// Words at the two lines.
    base: &'static str,
    whole: &'static str,
    axis: &'static str,
}

impl Frame {
    pub const WIDE: Self = Self {
        class: "wide",
        width: 880.0,
        height: 380.0,
        left: 48.0,
        right: 138.0,
        top: 60.0,
        bottom: 48.0,
        columns: 20,
        rows: 6,
        base: "base model",
        whole: "whole adapter",
        axis: "boundary: the adapter is on in the layers below it",
    };
    pub const NARROW: Self = Self {
        class: "narrow",
        width: 360.0,
        height: 320.0,
        left: 34.0,
        right: 58.0,
        top: 60.0,
        bottom: 46.0,
        columns: 7,
        rows: 5,
        base: "base",
        whole: "whole",
        axis: "boundary",
    };

    fn right_edge(&self) -> f64 {
        self.width - self.right
    }

    fn bottom_edge(&self) -> f64 {
        self.height - self.bottom
    }
}

/// The height of a line of words.
const LINE: f64 = 15.0;

struct Drawing<'a> {
    data: &'a Data,
    frame: &'a Frame,
    x: Scale,
    y: Scale,
}

pub fn draw(data: &Data, frame: &Frame) -> Element {
    let last = data.last.max(1) as f64;
    let drawing = Drawing {
        data,
        frame,
        x: Scale::new((0.0, last), (frame.left + 8.0, frame.right_edge() - 8.0)),
        y: Scale::round(data.span(), frame.rows, (frame.bottom_edge(), frame.top)),
    };
    el("svg")
        .class(frame.class)
        .attr("viewBox", format_args!("0 0 {} {}", frame.width, frame.height))
        .attr("role", "img")
        .attr("aria-label", data.description())
        .attr("tabindex", 0)
        .all(drawing.axes())
        .add(drawing.bands())
        .all(drawing.levels())
        .all(drawing.lines())
        .all(drawing.ruled_out())
        .all(drawing.points())
        .all(drawing.choice())
        .all(drawing.targets())
}

impl Drawing<'_> {
    fn axes(&self) -> Vec<Element> {
        let frame = self.frame;
        let (left, right, bottom) = (frame.left, frame.right_edge(), frame.bottom_edge());
        let (marks, decimals) = self.y.marks();
        let mut parts = Vec::new();
        for mark in marks {
            let y = self.y.place(mark);
            parts.push(line("grid", (left, y), (right, y)));
            parts.push(words("mark", "end", (left - 6.0, y + 4.0), format!("{mark:.decimals$}")));
        }
        let every = stride(self.data.last, frame.columns);
        for boundary in (0..=self.data.last).step_by(every) {
            parts.push(words("mark", "middle", (self.column(boundary), bottom + 18.0), boundary.to_string()));
        }
        parts.push(words("label", "start", (0.0, 14.0), "loss, nats per answer token"));
        parts.push(words("label", "middle", ((left + right) / 2.0, bottom + 38.0), frame.axis));
        parts
    }

    /// The band around each run of points: the bound of the difference, to both sides, as far as it lies in the drawing.
    fn bands(&self) -> Element {
        let frame = self.frame;
        let (width, height) = (frame.right_edge() - frame.left, frame.bottom_edge() - frame.top);
        let shape = |run: &[Measured]| match run {
            [alone] => line("reach", self.at(alone, alone.below()), self.at(alone, alone.above())),
            _ => {
                let upper = run.iter().map(|point| self.at(point, point.above()));
                let lower = run.iter().rev().map(|point| self.at(point, point.below()));
                el("path").class("band").attr("d", path(&upper.chain(lower).collect::<Vec<_>>()) + "Z")
            }
        };
        let bounded = |run: &&[Measured]| run.iter().all(|point| point.reach.is_some());
        // A drawing in the drawing cuts off what goes beyond it.
        el("svg")
            .attr("x", frame.left)
            .attr("y", frame.top)
            .attr("width", width)
            .attr("height", height)
            .attr("viewBox", format_args!("{} {} {width} {height}", frame.left, frame.top))
            .all(self.data.runs().into_iter().filter(bounded).map(shape))
    }

    /// The losses of the base model and the whole adapter, with their names beside the curve.
    fn levels(&self) -> Vec<Element> {
        let (left, right) = (self.frame.left, self.frame.right_edge());
        let levels = [(self.frame.base, self.data.base), (self.frame.whole, self.data.whole)];
        let places = apart(levels.map(|(_, loss)| self.y.place(loss)), 2.0 * LINE + 2.0);
        let level = |((name, loss), place): ((&str, f64), f64)| {
            let y = self.y.place(loss);
            [
                line("level", (left, y), (right, y)),
                words("level-name", "start", (right + 6.0, place - 3.0), name.to_string()),
                words("level-loss", "start", (right + 6.0, place - 3.0 + LINE), format!("{loss:.4}")),
            ]
        };
        levels.into_iter().zip(places).flat_map(level).collect()
    }

    fn lines(&self) -> Vec<Element> {
        let of_run = |run: &[Measured]| {
            let points: Vec<(f64, f64)> = run.iter().map(|point| self.place(point)).collect();
            el("path").class("line").attr("d", path(&points))
        };
        self.data.runs().into_iter().filter(|run| run.len() > 1).map(of_run).collect()
    }

    /// Hollow where there is an estimate, a cross at the axis where there is none.
    fn ruled_out(&self) -> Vec<Element> {
        let mark = |point: &Ruled| {
            let x = self.column(point.boundary);
            match point.loss {
                Some(loss) => circle("dropped", (x, self.y.place(loss)), 3.5),
                None => {
                    let y = self.frame.bottom_edge() - 5.0;
                    let strokes = format!("M{0:.1} {1:.1}l6 6m0 -6l-6 6", x - 3.0, y - 3.0);
                    el("path").class("unseen").attr("d", strokes)
                }
            }
        };
        self.data.dropped.iter().map(mark).collect()
    }

    fn points(&self) -> Vec<Element> {
        let radius = if self.data.last > 60 { 2.0 } else { 3.0 };
        self.data.measured.iter().map(|point| circle("point", self.place(point), radius)).collect()
    }

    /// The chosen boundary: a line through it with its name above.
    fn choice(&self) -> Vec<Element> {
        let chosen = self.data.measured.iter().find(|point| Some(point.boundary) == self.data.chosen);
        let Some(point) = chosen else { return Vec::new() };
        let (x, y) = self.place(point);
        let top = self.frame.top - 16.0;
        let name = format!("boundary {} chosen: {:.4}", point.boundary, point.loss);
        // Where the line stands near an edge the name goes to its inner side.
        let half = 3.6 * name.chars().count() as f64;
        let middle = x.clamp(self.frame.left + half, (self.frame.width - half - 4.0).max(self.frame.left + half));
        vec![
            line("choice", (x, top), (x, self.frame.bottom_edge())),
            circle("chosen", (x, y), 5.5),
            words("choice-name", "middle", (middle, top - 6.0), name),
        ]
    }

    /// What is pointed at: a strip for each boundary, with its words.
    fn targets(&self) -> Vec<Element> {
        let measured = self.data.measured.iter().map(|point| (point.boundary, Some(point.loss), &point.text));
        let ruled = self.data.dropped.iter().map(|point| (point.boundary, point.loss, &point.text));
        let mut all: Vec<_> = measured.chain(ruled).collect();
        all.sort_by_key(|(boundary, ..)| *boundary);
        let places: Vec<f64> = all.iter().map(|(boundary, ..)| self.column(*boundary)).collect();
        let (first, last) = (self.frame.left, self.frame.right_edge());
        let strip = |(index, (boundary, loss, text)): (usize, &(usize, Option<f64>, &String))| {
            let x = places[index];
            let from = if index == 0 { first } else { (places[index - 1] + x) / 2.0 };
            let to = places.get(index + 1).map_or(last, |next| (x + next) / 2.0);
            let y = loss.map_or(self.frame.bottom_edge() - 5.0, |loss| self.y.place(loss));
            let area = el("rect")
                .attr("x", format_args!("{from:.1}"))
                .attr("y", self.frame.top)
                .attr("width", format_args!("{:.1}", to - from))
                .attr("height", self.frame.bottom_edge() - self.frame.top);
            let chosen = if Some(*boundary) == self.data.chosen { "target first" } else { "target" };
            el("g").class(chosen).add(el("title").text(text)).add(area).add(circle("halo", (x, y), 7.0))
        };
        all.iter().enumerate().map(strip).collect()
    }

    fn column(&self, boundary: usize) -> f64 {
        self.x.place(boundary as f64)
    }

    fn place(&self, point: &Measured) -> (f64, f64) {
        self.at(point, point.loss)
    }

    /// A loss in the column of a point.
    fn at(&self, point: &Measured, loss: f64) -> (f64, f64) {
        (self.column(point.boundary), self.y.place(loss))
    }
}
