//! What else could have been done with the adapter than what is written.

use std::collections::BTreeSet;

use super::Request;
use super::scale::{Found, Tuned};
use crate::adapter::Adapter;
use crate::choice::compare::{gain_kept, mean};
use crate::choice::controls::{Kept, controls};
use crate::choice::scale::Scaled;
use crate::error::Result;
use crate::measure::{self, Curve, OnProgress, Point, Profile, Scores};
use crate::model::AdaptedModel;
use crate::report::alternatives::{Alternative, Measured};
use crate::samples::Sample;

/// What everything is measured with.
pub struct Given<'a> {
    pub ends: &'a AdaptedModel<'a>,
    pub samples: &'a [Sample],
    pub curve: &'a Curve,
    pub request: &'a Request,
}

/// Some of the adapter at a scale, evaluated.
#[derive(Clone)]
pub struct Row {
    pub kept: Kept,
    /// At full strength or not at all, in layers that the adapter has.
    pub selection: Profile,
    pub scale: f64,
    pub scores: Scores,
}

impl Row {
    pub fn profile(&self) -> Profile {
        self.selection.scaled(self.scale)
    }

    /// The same at another scale.
    pub fn scaled(&self, scaled: &Scaled) -> Self {
        Self { scale: scaled.scale(), scores: scaled.scores.clone(), ..self.clone() }
    }
}

/// What is written, first, and what could have been: what full strength asks for and the whole adapter, both with and
/// without a scale, the boundary that parts were taken out below, and with `--controls` other layers.
pub fn find(given: &Given, boundary: usize, found: &Found, on_progress: OnProgress) -> Result<Vec<Row>> {
    let mut rows = vec![found.written.clone()];
    let (full, below, whole) = (&found.full, given.below(boundary), given.whole());
    let is_boundary = found.report.is_none() && full.selection == below.selection;
    if boundary == 0 || is_boundary && !given.request.controls {
        return Ok(rows);
    }
    if let Some(Tuned { chosen, whole: whole_best, .. }) = &found.tuned {
        rows.extend([full.scaled(chosen), whole.scaled(whole_best)]);
    }
    rows.extend([full.clone(), below, whole]);
    if given.request.controls {
        rows.extend(given.controls(&found.written, on_progress)?);
    }
    // What came out the same stands once.
    let mut once: Vec<Row> = Vec::new();
    for row in rows {
        if !once.iter().any(|other| (&other.selection, other.scale) == (&row.selection, row.scale)) {
            once.push(row);
        }
    }
    Ok(once)
}

impl Given<'_> {
    fn adapter(&self) -> &Adapter {
        self.ends.adapter()
    }

    pub fn layers(&self) -> usize {
        self.ends.model().config.layers
    }

    pub fn whole(&self) -> Row {
        self.below(self.curve.points.last().map_or(0, |point| point.boundary))
    }

    /// A boundary of the curve at full strength.
    pub fn below(&self, boundary: usize) -> Row {
        let all = self.adapter().layers();
        let layers: BTreeSet<usize> = all.range(..boundary).copied().collect();
        let kept = if layers == all { Kept::Everything } else { Kept::Lowest };
        let point = self.curve.points.iter().find(|point| point.boundary == boundary);
        let selection = Profile::of_layers(&layers, self.layers());
        Row { kept, selection, scale: 1.0, scores: point.map(Point::scores).unwrap_or_default() }
    }

    pub fn evaluate(&self, profiles: Vec<Profile>, on_progress: OnProgress) -> Result<Vec<Scores>> {
        measure::profiles(self.ends, self.samples, profiles, &self.request.sweep, on_progress)
    }

    /// The mean loss, and the share of the whole adapter's gain that it keeps.
    pub fn worth(&self, scores: &Scores) -> (f64, Option<f64>) {
        let loss_of = |scores: &Scores| mean(&scores.per_sample, &self.curve.answers);
        let (base, whole) = (loss_of(&self.below(0).scores), loss_of(&self.whole().scores));
        let loss = loss_of(scores);
        (loss, gain_kept(loss, base, whole))
    }

    /// As many layers as are written, at the same scale.
    fn controls(&self, written: &Row, on_progress: OnProgress) -> Result<Vec<Row>> {
        let (all, kept) = (self.adapter().layers(), written.selection.layers());
        if kept == all {
            return Ok(Vec::new());
        }
        let effects = measure::effects(self.ends, self.samples, &self.request.sweep, &mut *on_progress)?;
        let chosen = controls(&all, kept.len(), &self.adapter().layer_norms()?, &effects);
        let row = |(kept, layers)| Row {
            kept,
            selection: Profile::of_layers(&layers, self.layers()),
            scale: written.scale,
            scores: Scores::default(),
        };
        let mut rows: Vec<Row> = chosen.into_iter().map(row).collect();
        let scores = self.evaluate(rows.iter().map(Row::profile).collect(), on_progress)?;
        rows.iter_mut().zip(scores).for_each(|(row, scores)| row.scores = scores);
        Ok(rows)
    }

    /// The bytes of the tensors that a selection keeps.
    fn bytes(&self, selection: &Profile) -> u64 {
        let (adapter, family) = (self.adapter(), self.ends.model().config.family);
        let kept = adapter.tensors().filter(|tensor| match adapter.layer_of(&tensor.key.module) {
            Some(layer) => {
                let inside = adapter.inside_layer(&tensor.key.module, layer);
                selection.at(layer).in_module(inside, family) != 0.0
            }
            None => true,
        });
        kept.map(|tensor| tensor.entry.bytes()).sum()
    }
}

/// The rows as the report has them; none where there is nothing but what is written. `held_out` are the answer tokens and
/// the scores of each row on held-out samples.
pub fn describe(rows: &[Row], given: &Given, held_out: Option<(&[usize], &[Scores])>) -> Vec<Alternative> {
    if rows.len() < 2 {
        return Vec::new();
    }
    let confidence = given.request.choice.confidence;
    let alternative = |(place, row): (usize, &Row)| Alternative {
        kept: row.kept,
        layers: row.selection.layers().into_iter().collect(),
        scale: row.scale,
        bytes: given.bytes(&row.selection),
        written: place == 0,
        samples: Measured::new(&row.scores, &rows[0].scores, &given.curve.answers, confidence),
        held_out: held_out.map(|(answers, scores)| Measured::new(&scores[place], &scores[0], answers, confidence)),
    };
    rows.iter().enumerate().map(alternative).collect()
}
