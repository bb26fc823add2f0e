//! What the drawing shows, taken from the report: points in one order, with the words that belong to them.

use crate::format::bytes;
use crate::report::html::words::{percent_text, plural, signed_text, verdict};
use crate::report::{CurvePoint, DroppedPoint, Report};

/// A boundary that was measured on all samples.
pub struct Measured {
    pub boundary: usize,
    pub loss: f64,
    /// How far the bound of the difference to the whole adapter lies from it.
    pub reach: Option<f64>,
    pub text: String,
}

/// A boundary that a part of the samples decided.
pub struct Ruled {
    pub boundary: usize,
    /// The whole adapter's loss and the difference on the samples seen; absent where there were none.
    pub loss: Option<f64>,
    pub text: String,
}

impl Measured {
    /// The lower and the upper end of the band.
    pub fn below(&self) -> f64 {
        self.loss - self.reach.unwrap_or(0.0)
    }

    pub fn above(&self) -> f64 {
        self.loss + self.reach.unwrap_or(0.0)
    }
}

/// How far, as a share of the span of all losses, the drawing goes beyond them for the band.
const MOST_BAND: f64 = 0.3;

pub struct Data {
    pub measured: Vec<Measured>,
    pub dropped: Vec<Ruled>,
    pub chosen: Option<usize>,
    /// Losses of the base model and the whole adapter.
    pub base: f64,
    pub whole: f64,
    pub last: usize,
    pub confidence: Option<f64>,
    samples: usize,
    /// All boundaries at which something changes.
    candidates: Vec<usize>,
}

impl Data {
    /// `None` where there is no curve to draw.
    pub fn of(report: &Report) -> Option<Self> {
        let (base, whole) = (report.curve.first()?, report.curve.last()?);
        Some(Self {
            measured: report.curve.iter().map(measured).collect(),
            dropped: report.dropped.iter().map(|point| ruled(point, whole.loss)).collect(),
            chosen: report.chosen.as_ref().map(|choice| choice.boundary),
            base: base.loss,
            whole: whole.loss,
            last: whole.boundary,
            confidence: report.options.as_ref().map(|options| options.confidence),
            samples: whole.per_sample.len(),
            candidates: report.adapter.layers.iter().map(|layer| layer + 1).collect(),
        })
    }

    /// Runs of measured points without a boundary between them that was not measured: only these are joined by a line.
    pub fn runs(&self) -> Vec<&[Measured]> {
        let is_between = |a: usize, b: usize| self.candidates.iter().any(|&boundary| a < boundary && boundary < b);
        self.measured.chunk_by(|a, b| !is_between(a.boundary, b.boundary)).collect()
    }

    /// The lowest and the highest loss that is drawn: all losses, and as much of the band as does not press them flat.
    pub fn span(&self) -> (f64, f64) {
        let measured = self.measured.iter().map(|point| point.loss);
        let (low, high) = ends(measured.chain(self.dropped.iter().filter_map(|point| point.loss)));
        let bounds = self.measured.iter().flat_map(|point| [point.below(), point.above()]);
        let (band_low, band_high) = ends(bounds);
        let room = (MOST_BAND * (high - low)).max(self.usual_reach());
        (band_low.max(low - room), band_high.min(high + room))
    }

    /// The median of how far the band reaches.
    fn usual_reach(&self) -> f64 {
        let mut reaches: Vec<f64> = self.measured.iter().filter_map(|point| point.reach).collect();
        reaches.sort_by(f64::total_cmp);
        reaches.get(reaches.len() / 2).copied().unwrap_or(0.0)
    }

    pub fn has_band(&self) -> bool {
        self.measured.iter().any(|point| point.reach.is_some_and(|reach| reach > 0.0))
    }

    pub fn samples_text(&self) -> String {
        plural(self.samples, "sample")
    }

    /// What is said below the drawing as long as no point is pointed at.
    pub fn chosen_text(&self) -> &str {
        let chosen = self.measured.iter().find(|point| Some(point.boundary) == self.chosen);
        chosen.or(self.measured.last()).map_or("", |point| &point.text)
    }

    /// The drawing in words.
    pub fn description(&self) -> String {
        let mut text = format!(
            "Loss over boundaries 0 to {}: {:.4} nats per answer token for the base model, {:.4} for the whole adapter",
            self.last, self.base, self.whole
        );
        if let Some(lowest) = self.measured.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) {
            text += &format!(", lowest at boundary {} with {:.4}", lowest.boundary, lowest.loss);
        }
        if let Some(chosen) = self.chosen {
            text += &format!("; boundary {chosen} is chosen");
        }
        if !self.dropped.is_empty() {
            let (count, noun) =
                (self.dropped.len(), if self.dropped.len() == 1 { "boundary was" } else { "boundaries were" });
            text += &format!("; {count} {noun} decided on a part of the samples");
        }
        text + ". The table of all boundaries has the numbers."
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn measured(point: &CurvePoint) -> Measured {
    let reach = point.difference_at_most.map(|most| most - point.difference).filter(|reach| reach.is_finite());
    let mut text = format!(
        "Boundary {}: loss {:.4}, {} against the whole adapter",
        point.boundary,
        point.loss,
        signed_text(point.difference)
    );
    if let Some(most) = point.difference_at_most {
        text += &format!(" (at most {})", signed_text(most));
    }
    if let Some(gain) = point.gain_kept {
        text += &format!(", {} of the gain", percent_text(gain));
    }
    text += &format!(", {}", bytes(point.bytes));
    Measured { boundary: point.boundary, loss: point.loss, reach, text }
}

fn ruled(point: &DroppedPoint, whole: f64) -> Ruled {
    let text = match point.difference {
        Some(difference) => format!(
            "Boundary {}: {} after {}, on these {} against the whole adapter",
            point.boundary,
            verdict(point),
            plural(point.samples, "sample"),
            signed_text(difference)
        ),
        None => format!("Boundary {}: {} by its neighbours, not evaluated", point.boundary, verdict(point)),
    };
    Ruled { boundary: point.boundary, loss: point.difference.map(|difference| whole + difference), text }
}
