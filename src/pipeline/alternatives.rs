//! What else could have been done with the adapter: the search for a scale, and the controls.

use std::collections::BTreeSet;

use super::Request;
use crate::adapter::Adapter;
use crate::choice::compare::mean;
use crate::choice::controls::{Kept, controls};
use crate::choice::percent;
use crate::choice::scale::{ScalePoint, Scaled, Tuning};
use crate::error::Result;
use crate::model::Ends;
use crate::report::alternatives::{Alternative, Measured, ScaleChoice};
use crate::samples::Sample;
use crate::settings::Scaling;
use crate::sweep::{self, Curve, Point, Profile, Scores, Watch};

/// What the alternatives are measured with.
pub struct Given<'a> {
    pub ends: &'a Ends<'a>,
    pub samples: &'a [Sample],
    pub curve: &'a Curve,
    pub boundary: usize,
    pub request: &'a Request,
}

/// What is written, and what could have been.
pub struct Found {
    /// The one that is written first.
    pub rows: Vec<Row>,
    pub scale: Option<ScaleChoice>,
}

/// Some of the adapter's layers at a scale, evaluated.
pub struct Row {
    kept: Kept,
    layers: BTreeSet<usize>,
    scale: f64,
    pub scores: Scores,
}

impl Row {
    pub fn profile(&self, layers: usize) -> Profile {
        Profile::of_layers(&self.layers, layers).scaled(self.scale)
    }

    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The same layers at another scale.
    fn scaled(&self, scaled: &Scaled) -> Self {
        Self { kept: self.kept, layers: self.layers.clone(), scale: scaled.scale(), scores: scaled.scores.clone() }
    }
}

/// Looks for a scale and evaluates controls, as far as they are asked for.
pub fn find(given: &Given, watch: Watch) -> Result<Found> {
    let request = given.request;
    if given.boundary == 0 {
        return Ok(Found { rows: vec![given.chosen()], scale: None });
    }
    let (whole, chosen) = (given.whole(), given.chosen());
    let keeps_all = chosen.layers == whole.layers;
    let tunes = request.controls || request.scaling == Some(Scaling::Tune);
    let targets = if keeps_all { vec![&whole] } else { vec![&whole, &chosen] };
    let mut tuned = if tunes { given.tune(&targets, &mut *watch)? } else { Vec::new() };
    let scaled_chosen = tuned.pop();
    let scaled_whole = if keeps_all { None } else { tuned.pop() };
    let (written, scale) = match request.scaling {
        None => (None, None),
        Some(Scaling::By(factor)) => {
            let scores = given.evaluate(vec![chosen.profile(given.layers()).scaled(factor)], &mut *watch)?.remove(0);
            let row = Row { scale: factor, scores, ..given.chosen() };
            let scale = given.scale_choice(&row, "the scale was given".into(), Vec::new());
            (Some(row), Some(scale))
        }
        Some(Scaling::Tune) => {
            let tuned = scaled_chosen.as_ref().map(|(scaled, tried)| {
                let row = chosen.scaled(scaled);
                let scale = given.scale_choice(&row, given.reason(scaled.scale()), tried.clone());
                (row, scale)
            });
            tuned.unzip()
        }
    };
    let mut rows = vec![written.unwrap_or_else(|| given.chosen())];
    if request.controls || request.scaling.is_some() {
        rows.extend([chosen, whole]);
        let scaled = [scaled_chosen, scaled_whole].into_iter().flatten().map(|(scaled, _)| scaled);
        let of = if keeps_all { vec![1] } else { vec![1, 2] };
        let scaled: Vec<Row> = of.into_iter().zip(scaled).map(|(row, scaled)| rows[row].scaled(&scaled)).collect();
        rows.extend(scaled);
    }
    if request.controls && !keeps_all {
        rows.extend(given.controls(watch)?);
    }
    // What came out the same stands once.
    let mut once: Vec<Row> = Vec::new();
    for row in rows {
        if !once.iter().any(|other| (&other.layers, other.scale) == (&row.layers, row.scale)) {
            once.push(row);
        }
    }
    Ok(Found { rows: once, scale })
}

impl Given<'_> {
    fn adapter(&self) -> &Adapter {
        self.ends.adapter()
    }

    fn layers(&self) -> usize {
        self.ends.model().config.layers
    }

    fn whole(&self) -> Row {
        let layers = self.adapter().layers();
        Row { kept: Kept::Everything, layers, scale: 1.0, scores: self.scores_at(self.whole_boundary()) }
    }

    fn chosen(&self) -> Row {
        let layers: BTreeSet<usize> = self.adapter().layers().range(..self.boundary).copied().collect();
        let kept = if self.boundary == self.whole_boundary() { Kept::Everything } else { Kept::Chosen };
        Row { kept, layers, scale: 1.0, scores: self.scores_at(self.boundary) }
    }

    fn whole_boundary(&self) -> usize {
        self.curve.points.last().map_or(0, |point| point.boundary)
    }

    fn scores_at(&self, boundary: usize) -> Scores {
        let point = self.curve.points.iter().find(|point| point.boundary == boundary);
        point.map(Point::scores).unwrap_or_default()
    }

    fn evaluate(&self, profiles: Vec<Profile>, watch: Watch) -> Result<Vec<Scores>> {
        sweep::profiles(self.ends, self.samples, profiles, &self.request.sweep, watch)
    }

    /// The best scale of each target, with all that were tried. All targets' scales go through the model together.
    fn tune(&self, targets: &[&Row], watch: Watch) -> Result<Vec<Tuned>> {
        let mut tunings: Vec<Tuning> =
            targets.iter().map(|target| Tuning::new(target.scores.clone(), &self.curve.answers)).collect();
        loop {
            let wanted: Vec<(usize, f64)> = tunings
                .iter_mut()
                .enumerate()
                .flat_map(|(target, tuning)| tuning.wanted().into_iter().map(move |scale| (target, scale)))
                .collect();
            if wanted.is_empty() {
                break;
            }
            let profile = |&(target, scale): &(usize, f64)| targets[target].profile(self.layers()).scaled(scale);
            let scores = self.evaluate(wanted.iter().map(profile).collect(), &mut *watch)?;
            for ((target, scale), scores) in wanted.into_iter().zip(scores) {
                tunings[target].add(scale, scores);
            }
        }
        Ok(tunings.into_iter().map(|tuning| tuning.finish(self.request.choice.confidence)).collect())
    }

    fn controls(&self, watch: Watch) -> Result<Vec<Row>> {
        let effects = sweep::effects(self.ends, self.samples, &self.request.sweep, &mut *watch)?;
        let (adapter, norms) = (self.adapter(), self.adapter().layer_norms()?);
        let chosen = controls(&adapter.layers(), self.chosen().layers.len(), &norms, &effects);
        let profiles = chosen.iter().map(|(_, layers)| Profile::of_layers(layers, self.layers())).collect();
        let scores = self.evaluate(profiles, watch)?;
        let row = |((kept, layers), scores)| Row { kept, layers, scale: 1.0, scores };
        Ok(chosen.into_iter().zip(scores).map(row).collect())
    }

    fn scale_choice(&self, row: &Row, reason: String, tried: Vec<ScalePoint>) -> ScaleChoice {
        let loss_of = |scores: &Scores| mean(&scores.per_sample, &self.curve.answers);
        let (base, whole) = (loss_of(&self.scores_at(0)), loss_of(&self.whole().scores));
        let loss = loss_of(&row.scores);
        let gain_kept = (base > whole).then(|| (base - loss) / (base - whole));
        ScaleChoice { scale: row.scale, reason, loss, gain_kept, tried }
    }

    fn reason(&self, scale: f64) -> String {
        let confidence = percent(self.request.choice.confidence);
        match scale == 1.0 {
            true => format!("no other scale is better with {confidence} % confidence"),
            false => format!("it has the lowest loss, with {confidence} % confidence lower than at scale 1"),
        }
    }
}

type Tuned = (Scaled, Vec<ScalePoint>);

/// The rows as the report has them; none where there is nothing but what is written. `held_out` are the answer tokens and
/// the scores of each row on held-out samples.
pub fn describe(found: &Found, given: &Given, held_out: Option<(&[usize], &[Scores])>) -> Vec<Alternative> {
    if found.rows.len() < 2 {
        return Vec::new();
    }
    let (adapter, confidence) = (given.adapter(), given.request.choice.confidence);
    let layer_bytes = adapter.layer_bytes();
    let alternative = |(place, row): (usize, &Row)| Alternative {
        kept: row.kept,
        layers: row.layers.iter().copied().collect(),
        scale: row.scale,
        bytes: adapter.bytes_below(0) + row.layers.iter().map(|layer| layer_bytes[layer]).sum::<u64>(),
        written: place == 0,
        samples: Measured::new(&row.scores, &found.rows[0].scores, &given.curve.answers, confidence),
        held_out: held_out.map(|(answers, scores)| Measured::new(&scores[place], &scores[0], answers, confidence)),
    };
    found.rows.iter().enumerate().map(alternative).collect()
}
