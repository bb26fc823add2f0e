//! The figures that count, of the base model, the whole adapter and what is written, side by side.

use serde::Serialize;

use crate::choice::Assessment;
use crate::choice::held_out::SampleSet;
use crate::report::metrics::{BoundaryScores, TaskMetrics};
use crate::report::{CurvePoint, Report};

/// A figure of all three.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideBySide {
    name: String,
    /// On what it was measured, or in which unit.
    note: Option<String>,
    /// The filter that shows it.
    filter: &'static str,
    /// Absent where there is no such figure, as for the size of the base model.
    base: Option<f64>,
    whole: Option<f64>,
    written: Option<f64>,
    change: Option<SideChange>,
}

/// What is written less the whole adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideChange {
    difference: f64,
    /// The filter that shows it.
    filter: &'static str,
    at_least: Option<f64>,
    at_most: Option<f64>,
    /// Whether it is a loss that is more than the margin, or that a warning points out.
    worse: bool,
}

impl SideBySide {
    /// Whether what is written is worse here than the whole adapter.
    pub fn is_worse(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.worse)
    }
}

/// What is measured on the same samples.
struct Measured<'a> {
    base: &'a Assessment,
    whole: &'a Assessment,
    written: Option<&'a Assessment>,
    on: String,
}

/// All rows; empty without measurements and without an output.
pub fn rows(report: &Report) -> Vec<SideBySide> {
    let written = report.written_on_choosing().filter(|_| report.output.is_some()).map(|written| written.assessment);
    let mut rows = Vec::from_iter(size(report));
    let ends = report.curve.first().zip(report.curve.last());
    let count = ends.map_or(0, |(base, _)| base.per_sample.len());
    if let Some((base, whole)) = ends.map(|(base, whole)| (assessment(base), assessment(whole))) {
        let on = crate::format::plural(count, "sample");
        let measured = Measured { base, whole, written: written.as_ref(), on };
        rows.extend([loss(report, &measured), gain(&measured)]);
        rows.extend(held_out(report));
        rows.extend(tokens(report, &measured));
    }
    let metrics = report.choosing_metrics.iter().chain(&report.metrics);
    rows.extend(metrics.flat_map(|metrics| scores(report, metrics)));
    rows
}

fn assessment(point: &CurvePoint) -> &Assessment {
    &point.assessed.assessment
}

fn size(report: &Report) -> Option<SideBySide> {
    let output = report.output.as_ref()?;
    let (before, after) = (output.bytes_before as f64, output.bytes_after as f64);
    let difference = after / before.max(1.0) - 1.0;
    let change = SideChange { difference, filter: "signed_percent", at_least: None, at_most: None, worse: false };
    Some(SideBySide {
        name: "size".into(),
        note: Some(format!("{} of {} tensors", output.tensors_after, output.tensors_before)),
        filter: "bytes",
        base: None,
        whole: Some(before),
        written: Some(after),
        change: Some(change),
    })
}

/// How much of the adapter's gain may be given up.
fn margin(report: &Report) -> f64 {
    report.options.as_ref().map_or(0.0, |options| options.margin)
}

fn loss(report: &Report, measured: &Measured) -> SideBySide {
    let Measured { base, whole, written, on } = measured;
    let allowed = margin(report) * (base.loss - whole.loss).max(0.0);
    let change = written.map(|written| SideChange {
        difference: written.loss - whole.loss,
        filter: "signed",
        at_least: None,
        at_most: written.difference_at_most,
        worse: written.loss - whole.loss > allowed,
    });
    SideBySide {
        name: "loss".into(),
        note: Some(format!("nats per token, {on}")),
        filter: "loss",
        base: Some(base.loss),
        whole: Some(whole.loss),
        written: written.map(|written| written.loss),
        change,
    }
}

fn gain(measured: &Measured) -> SideBySide {
    let whole = measured.whole.gain_kept;
    SideBySide {
        name: "gain kept".into(),
        note: None,
        filter: "percent",
        base: None,
        whole,
        written: measured.written.and_then(|written| written.gain_kept),
        change: None,
    }
}

fn held_out(report: &Report) -> Option<SideBySide> {
    let held_out = report.held_out.as_ref()?;
    let written = report.written().filter(|written| written.on == SampleSet::HeldOut)?.assessment;
    let (base, whole) = (&held_out.verdict.base.assessment, &held_out.verdict.whole.assessment);
    let on = crate::format::plural(held_out.samples.count, "held-out sample");
    let written = Some(&written).filter(|_| report.output.is_some());
    Some(SideBySide { name: "loss, held out".into(), ..loss(report, &Measured { base, whole, written, on }) })
}

/// How likely and how often correct the true tokens are.
fn tokens(report: &Report, measured: &Measured) -> [SideBySide; 3] {
    let row = |name: &str, code: &str, of: fn(&Assessment) -> f64, at_least: fn(&Assessment) -> Option<f64>| {
        let whole = of(measured.whole);
        let warned = report.warnings.iter().any(|warning| warning.code == code);
        let change = measured.written.map(|written| SideChange {
            difference: of(written) - whole,
            filter: "signed_points",
            at_least: at_least(written),
            at_most: None,
            worse: warned && of(written) < whole,
        });
        SideBySide {
            name: name.into(),
            note: None,
            filter: "percent",
            base: Some(of(measured.base)),
            whole: Some(whole),
            written: measured.written.map(of),
            change,
        }
    };
    let bound = |one: &Assessment| one.probability_difference_at_least;
    [
        row("probability", "gives-up-probability", |one| one.token_probability, bound),
        row("tokens correct", "fewer-correct", |one| one.token_accuracy, |_| None),
        row("answers correct", "fewer-correct", |one| one.exact_match, |_| None),
    ]
}

/// The scores of generated answers.
fn scores(report: &Report, metrics: &TaskMetrics) -> Vec<SideBySide> {
    let (Some(base), Some(whole)) = (metrics.boundaries.first(), metrics.boundaries.last()) else { return Vec::new() };
    let written = metrics.written().filter(|_| report.output.is_some());
    let of = |row: &BoundaryScores, place: usize| row.scores.get(place).map(|score| score.score);
    let on = match metrics.on {
        SampleSet::HeldOut => "held-out answer",
        SampleSet::Choosing => "answer",
    };
    let row = |place: usize| SideBySide {
        name: whole.scores[place].metric.name().into(),
        note: Some(crate::format::plural(metrics.samples, on)),
        filter: "score",
        base: of(base, place),
        whole: of(whole, place),
        written: written.and_then(|row| of(row, place)),
        change: written.and_then(|row| row.scores.get(place)).map(|score| SideChange {
            difference: score.to_whole.difference,
            filter: "signed_score",
            at_least: score.to_whole.difference_at_least,
            at_most: score.to_whole.difference_at_most,
            worse: score.to_whole.difference_at_most.is_some_and(|most| most < 0.0),
        }),
    };
    (0..whole.scores.len()).map(row).collect()
}
