//! Where the parts of a chart lie, in units of about a pixel; `chart.html` draws them.
//!
//! Every chart is drawn twice, for wide and for narrow screens, so that its text is legible on both.

use serde::Serialize;

use super::scale::{Scale, apart};

/// The size of a chart, and the edges of the area inside its axes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Frame {
    pub class: &'static str,
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    /// About how many marks fit on each axis.
    pub columns: usize,
    pub rows: usize,
}

impl Frame {
    pub const fn wide(height: f64) -> Self {
        let (width, bottom) = (880.0, height - 48.0);
        Self { class: "wide", width, height, left: 48.0, right: 742.0, top: 60.0, bottom, columns: 20, rows: 5 }
    }

    pub const fn narrow(height: f64) -> Self {
        Self { class: "narrow", width: 360.0, right: 302.0, columns: 7, ..Self::wide(height) }
    }
}

/// A chart over whole numbers: boundaries or layers.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    pub frame: Frame,
    #[serde(skip)]
    x: Scale,
    #[serde(skip)]
    y: Scale,
    /// Places of the vertical axis, and their numbers.
    rows: Vec<(f64, String)>,
    /// Places of the horizontal axis, and what is written there.
    pub columns: Vec<(f64, String)>,
    /// Areas behind all else, cut off at the edges of the frame: class, and `d` of a path.
    pub bands: Vec<(&'static str, String)>,
    /// Class, and `d` of a path.
    pub lines: Vec<(&'static str, String)>,
    /// Places to the right of the frame for the names of the base model and the whole adapter, and their values.
    pub ends: Vec<(f64, f64)>,
    pub strips: Vec<Strip>,
    /// The place of the text above the chosen boundary, and the text.
    pub choice: Option<(f64, String)>,
}

/// A boundary or a layer, which shows its figures when it is pointed at.
#[derive(Debug, Clone, Serialize)]
pub struct Strip {
    pub x: f64,
    pub y: f64,
    /// The CSS class of its mark, which sets the shape.
    pub sign: &'static str,
    pub chosen: bool,
}

impl Chart {
    pub fn new(frame: Frame, x: Scale, y: Scale, strips: Vec<Strip>) -> Self {
        let (marks, decimals) = y.marks();
        let rows = marks.into_iter().map(|value| (y.place(value), format!("{value:.decimals$}"))).collect();
        let (columns, bands, lines, ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { frame, x, rows, columns, bands, lines, ends, strips, choice: None, y }
    }

    pub fn line(&mut self, class: &'static str, points: &[(f64, f64)]) {
        self.lines.push((class, path(points)));
    }

    /// Places the names of two values beside the frame, at their heights if they do not overlap.
    pub fn name_ends(&mut self, values: [f64; 2]) {
        const TWO_LINES: f64 = 32.0;
        let places = apart(values.map(|value| self.y.place(value)), TWO_LINES);
        self.ends = places.into_iter().zip(values).collect();
    }

    /// Marks whole numbers on the horizontal axis.
    pub fn number(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.columns = numbers.into_iter().map(|number| (self.x.place(number as f64), number.to_string())).collect();
    }

    /// Hatches the height of the frame where nothing was measured: between these two places.
    pub fn hatch(&mut self, from: f64, to: f64) {
        const BETWEEN: f64 = 7.0;
        let Frame { left, right, top, bottom, .. } = self.frame;
        let (from, to) = (from.max(left), to.min(right));
        let lines = ((to - from + bottom - top) / BETWEEN) as usize;
        // Diagonals from the lower left to the upper right: along each, x + y is the same.
        let line = |index: usize| {
            let sum = from + top + (index + 1) as f64 * BETWEEN;
            let (start, end) = (from.max(sum - bottom), to.min(sum - top));
            path(&[(start, sum - start), (end, sum - end)])
        };
        self.bands.push(("unseen", (0..lines).map(line).collect()));
    }

    /// Names the chosen boundary. Near an edge the name moves inwards.
    pub fn choose(&mut self, boundary: usize, name: String) {
        let half = 3.6 * name.chars().count() as f64;
        let left = self.frame.left + half;
        let middle = self.x.place(boundary as f64).clamp(left, (self.frame.width - half - 4.0).max(left));
        self.choice = Some((middle, name));
    }
}

/// Straight lines from point to point as `d` of a path, rounded to what can be seen.
pub fn path(points: &[(f64, f64)]) -> String {
    let step = |(index, (x, y)): (usize, &(f64, f64))| format!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    points.iter().enumerate().map(step).collect()
}
