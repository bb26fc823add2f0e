//! The scale of what is kept, found together with the boundary.
//!
//! The best scale of the chosen boundary is one candidate. The other is had the other way round: the best scale of the whole
//! adapter first, and then the boundary at that scale. An adapter that is too sure of itself is often best with most of
//! its layers at half their strength, which no search from a boundary finds.

use super::alternatives::{Given, Row};
use crate::choice::compare::mean;
use crate::choice::scale::{ScalePoint, Scaled, ScaledBoundary, Tuning};
use crate::choice::stability::{Share, stability};
use crate::choice::{self, Choice, Rule, lowest_that_holds, verdicts};
use crate::cli::settings::Scaling;
use crate::error::Result;
use crate::format::percent;
use crate::measure::{self, Curve, OnProgress, Point, Profile, Scores};
use crate::report::ScaleChoice;

/// What tuning has found.
pub struct Tuned {
    /// What was chosen at full strength, at its best scale.
    pub chosen: Scaled,
    /// The scales that were tried for it.
    pub tried: Vec<ScalePoint>,
    /// The whole adapter at its best scale.
    pub whole: Scaled,
}

/// A choice with its scale.
pub struct Found {
    pub choice: Choice,
    /// What was chosen at full strength.
    pub full: Row,
    /// What is written.
    pub written: Row,
    pub tuned: Option<Tuned>,
    pub report: Option<ScaleChoice>,
    /// How stable the choice is, if it was not made from the curve at full strength.
    pub stability: Option<Vec<Share>>,
}

/// Finds the scale of `full`, what was chosen at full strength, as far as it is asked for, and with it perhaps another boundary
/// among those that `allowed` admits.
pub fn find(
    given: &Given,
    choice: Choice,
    full: Row,
    allowed: impl Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<Found> {
    let request = given.request;
    let wants_tuning = request.controls || request.scaling == Some(Scaling::Tune);
    let tuned = match choice.boundary > 0 && wants_tuning {
        true => Some(tune_both(given, &full, &mut *on_progress)?),
        false => None,
    };
    let unscaled = Found { choice, written: full.clone(), full, tuned, report: None, stability: None };
    match request.scaling.filter(|_| unscaled.choice.boundary > 0) {
        None => Ok(unscaled),
        Some(Scaling::By(factor)) => {
            let profile = unscaled.written.profile().scaled(factor);
            let scores = given.evaluate(vec![profile], on_progress)?.remove(0);
            let written = Row { scale: factor, scores, ..unscaled.written.clone() };
            Ok(unscaled.with(written, "the scale was given".into(), given))
        }
        Some(Scaling::Tune) => tuned_together(unscaled, given, allowed, on_progress),
    }
}

/// The better one of the chosen boundary at its best scale and a boundary chosen at the best scale of the whole adapter.
fn tuned_together(
    unscaled: Found,
    given: &Given,
    allowed: impl Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<Found> {
    let Some(tuned) = &unscaled.tuned else { return Ok(unscaled) };
    // What is given, read elsewhere or found part by part is not looked for again among boundaries.
    let is_fixed = given.request.choice.rule.needs_no_losses() || given.request.subset.is_some();
    let joint = if is_fixed { None } else { joint(given, tuned, &allowed, on_progress)? };
    match joint.filter(|joint| joint.beats(unscaled.choice.boundary, &tuned.chosen, given, &allowed)) {
        None => {
            let written = unscaled.written.scaled(&tuned.chosen);
            let reason = reason(tuned.chosen.scale(), given.request.choice.confidence);
            Ok(unscaled.with(written, reason, given))
        }
        Some(joint) => {
            let reason = "it is the best one of the whole adapter, and the boundary was chosen at it".into();
            let boundaries = joint.boundaries();
            let stability = stability(&joint.curve, &given.request.choice, |boundary| {
                boundary < joint.measure() && allowed(boundary)
            });
            let found = unscaled.with(joint.row, reason, given);
            let report = found.report.map(|report| ScaleChoice { boundaries, ..report });
            Ok(Found { choice: joint.choice, report, stability: Some(stability), ..found })
        }
    }
}

impl Found {
    /// The same with something else to be written, at a scale for this reason.
    fn with(self, written: Row, reason: String, given: &Given) -> Self {
        let (loss, gain_kept) = given.worth(&written.scores);
        let tried = self.tuned.as_ref().map(|tuned| tuned.tried.clone()).unwrap_or_default();
        let report = ScaleChoice { scale: written.scale, reason, loss, gain_kept, tried, boundaries: Vec::new() };
        Self { written, report: Some(report), ..self }
    }
}

fn reason(scale: f64, confidence: f64) -> String {
    let confidence = percent(confidence);
    match scale == 1.0 {
        true => format!("no other scale is better with {confidence} % confidence"),
        false => format!("it has the lowest loss, with {confidence} % confidence lower than at scale 1"),
    }
}

/// Tunes the whole adapter and the chosen boundary; the scales of both go through the model together.
fn tune_both(given: &Given, chosen: &Row, on_progress: OnProgress) -> Result<Tuned> {
    let whole = given.whole();
    let targets = if chosen.selection == whole.selection { vec![&whole] } else { vec![&whole, chosen] };
    let mut tunings: Vec<Tuning> =
        targets.iter().map(|target| Tuning::new(target.scores.clone(), &given.curve.answers)).collect();
    loop {
        let wanted: Vec<(usize, f64)> = tunings
            .iter_mut()
            .enumerate()
            .flat_map(|(target, tuning)| tuning.wanted().into_iter().map(move |scale| (target, scale)))
            .collect();
        if wanted.is_empty() {
            break;
        }
        let profile = |&(target, scale): &(usize, f64)| targets[target].profile().scaled(scale);
        let scores = given.evaluate(wanted.iter().map(profile).collect(), &mut *on_progress)?;
        for ((target, scale), scores) in wanted.into_iter().zip(scores) {
            tunings[target].add(scale, scores);
        }
    }
    let mut found =
        tunings.into_iter().map(|tuning| tuning.finish(given.request.choice.confidence)).collect::<Vec<_>>();
    let (whole, tried) = found.swap_remove(0);
    let (chosen, tried) = found.pop().unwrap_or_else(|| (whole.clone(), tried));
    Ok(Tuned { chosen, tried, whole })
}

/// A boundary chosen at the scale of the whole adapter.
struct Joint {
    choice: Choice,
    row: Row,
    /// The boundaries at that scale and behind them, as the measure of all, the whole adapter at full strength.
    curve: Curve,
}

/// Chooses among boundaries at the best scale of the whole adapter; nothing where that is 1.
fn joint(
    given: &Given,
    tuned: &Tuned,
    allowed: impl Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<Option<Joint>> {
    let scale = tuned.whole.scale();
    if scale == 1.0 {
        return Ok(None);
    }
    let boundaries: Vec<usize> = measure::candidates(given.ends.adapter()).into_iter().collect();
    let profile = |&boundary: &usize| Profile::below(boundary, given.layers()).scaled(scale);
    let scores = given.evaluate(boundaries.iter().map(profile).collect(), on_progress)?;
    let point =
        |boundary: usize, scores: Scores| Point { boundary, per_sample: scores.per_sample, right: scores.right };
    let mut points: Vec<Point> =
        boundaries.iter().zip(scores).map(|(&boundary, scores)| point(boundary, scores)).collect();
    let last = boundaries.last().copied().unwrap_or(0);
    points.push(point(last + 1, given.whole().scores));
    let curve = Curve { points, answers: given.curve.answers.clone(), work: Default::default() };
    let choice = choice::choose(&curve, &given.request.choice, |boundary| boundary <= last && allowed(boundary));
    let found = curve.points.iter().find(|point| point.boundary == choice.boundary);
    let row = Row { scale, scores: found.map(Point::scores).unwrap_or_default(), ..given.below(choice.boundary) };
    Ok((choice.boundary > 0).then_some(Joint { choice, row, curve }))
}

impl Joint {
    /// The place of what all are measured with, behind all boundaries.
    fn measure(&self) -> usize {
        self.curve.points.last().map_or(0, |point| point.boundary)
    }

    fn boundaries(&self) -> Vec<ScaledBoundary> {
        let points = self.curve.points.iter().filter(|point| point.boundary < self.measure());
        points.map(|point| ScaledBoundary { boundary: point.boundary, loss: self.curve.loss(point) }).collect()
    }

    /// Whether the rule prefers this to the boundary chosen at full strength, at its best scale.
    fn beats(&self, boundary: usize, scaled: &Scaled, given: &Given, allowed: impl Fn(usize) -> bool) -> bool {
        match given.request.choice.rule {
            Rule::Smallest => {
                let verdicts = verdicts(&self.curve, &given.request.choice);
                let held = lowest_that_holds(&verdicts, &given.request.choice, |boundary| {
                    boundary < self.measure() && allowed(boundary)
                });
                let holds = held.is_some_and(|verdict| verdict.boundary == self.choice.boundary);
                holds && self.choice.boundary < boundary
            }
            _ => self.choice.loss < mean(&scaled.scores.per_sample, &given.curve.answers),
        }
    }
}
