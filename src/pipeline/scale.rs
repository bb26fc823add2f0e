//! The scale of what is kept, found together with the boundary.
//!
//! One candidate is the chosen boundary at its best scale. The other is found in the opposite order: the best scale of the whole
//! adapter first, then the boundary at that scale. An overconfident adapter is often best with most of its layers at half their
//! strength, which no search that starts from a boundary finds.

use super::evaluator::{Candidate, Evaluator};
use crate::choice::scale::{ScalePoint, Scaled, ScaledBoundary, Scaling, Tuning};
use crate::choice::stability::{Share, stability};
use crate::choice::{self, Basis, Candidates, Choice};
use crate::error::Result;
use crate::format::percent;
use crate::measure::{self, Curve, OnProgress, Point, Profile};
use crate::report::ScaleChoice;

/// The best scales of what was chosen at full strength, and of the whole adapter.
pub struct Tuned {
    pub chosen: Scaled,
    /// The scales that were tried for it.
    pub tried: Vec<ScalePoint>,
    pub whole: Scaled,
}

/// A choice with its scale.
pub struct ScaleSearch {
    pub choice: Choice,
    /// What was chosen at full strength.
    pub full: Candidate,
    /// What is written.
    pub written: Candidate,
    pub tuned: Option<Tuned>,
    pub report: Option<ScaleChoice>,
    /// The stability of the choice, if it was not made on the curve at full strength.
    pub stability: Option<Vec<Share>>,
}

/// Finds the scale of `full`, the choice at full strength, if the request asks for one. At that scale another boundary that
/// `is_allowed` admits may win.
pub fn find(
    evaluator: &Evaluator,
    choice: Choice,
    full: Candidate,
    is_allowed: &dyn Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<ScaleSearch> {
    let request = evaluator.request;
    let (keeps_layers, tunes) = (choice.boundary() > 0, request.controls || request.scaling == Some(Scaling::Tune));
    let tuned = if keeps_layers && tunes { Some(tune_both(evaluator, &full, &mut *on_progress)?) } else { None };
    let unscaled = ScaleSearch { choice, written: full.clone(), full, tuned, report: None, stability: None };
    match request.scaling.filter(|_| keeps_layers) {
        None => Ok(unscaled),
        Some(Scaling::By(factor)) => {
            let profile = unscaled.written.profile().scaled(factor);
            let measurement = evaluator.measure(vec![profile], on_progress)?.remove(0);
            let written = Candidate { scale: factor, measurement, ..unscaled.written.clone() };
            Ok(unscaled.with(written, "the scale was given".into(), evaluator))
        }
        Some(Scaling::Tune) => choose_tuned(unscaled, evaluator, is_allowed, on_progress),
    }
}

/// The better of the chosen boundary at its best scale and a boundary chosen at the best scale of the whole adapter.
fn choose_tuned(
    unscaled: ScaleSearch,
    evaluator: &Evaluator,
    is_allowed: &dyn Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<ScaleSearch> {
    let Some(tuned) = &unscaled.tuned else { return Ok(unscaled) };
    let request = evaluator.request;
    // A boundary that was named, read off the probability curve or refined part by part is not chosen again.
    let is_fixed = request.choice.rule.basis() != Basis::Losses || request.refinement.is_some();
    let joint = if is_fixed { None } else { JointChoice::find(evaluator, tuned, is_allowed, on_progress)? };
    let own = (unscaled.choice.boundary(), tuned.chosen.measurement.loss());
    match joint.filter(|joint| joint.is_preferred_to(own, evaluator, is_allowed)) {
        None => {
            let written = unscaled.written.scaled(&tuned.chosen);
            let reason = reason(tuned.chosen.scale(), request.choice.confidence);
            Ok(unscaled.with(written, reason, evaluator))
        }
        Some(joint) => {
            let reason = "it is the best one of the whole adapter, and the boundary was chosen at it".into();
            let boundaries = joint.boundaries();
            let is_boundary = |boundary: usize| boundary < joint.curve.whole().boundary && is_allowed(boundary);
            let stability = stability(&joint.curve, &request.choice, is_boundary);
            let search = unscaled.with(joint.candidate, reason, evaluator);
            let report = search.report.map(|report| ScaleChoice { boundaries, ..report });
            Ok(ScaleSearch { choice: joint.choice, report, stability: Some(stability), ..search })
        }
    }
}

impl ScaleSearch {
    /// The same with another candidate to be written, whose scale has this reason.
    fn with(self, written: Candidate, reason: String, evaluator: &Evaluator) -> Self {
        let report = ScaleChoice {
            scale: written.scale,
            reason,
            assessment: evaluator.assess(&written.measurement),
            tried: self.tuned.as_ref().map(|tuned| tuned.tried.clone()).unwrap_or_default(),
            boundaries: Vec::new(),
        };
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
fn tune_both(evaluator: &Evaluator, chosen: &Candidate, on_progress: OnProgress) -> Result<Tuned> {
    let whole = evaluator.whole();
    let targets = if chosen.selection == whole.selection { vec![&whole] } else { vec![&whole, chosen] };
    let mut tunings: Vec<Tuning> = targets.iter().map(|target| Tuning::new(target.measurement.clone())).collect();
    loop {
        let mut scales: Vec<(usize, f64)> = Vec::new();
        for (target, tuning) in tunings.iter_mut().enumerate() {
            scales.extend(tuning.next_scales().into_iter().map(|scale| (target, scale)));
        }
        if scales.is_empty() {
            break;
        }
        let profile = |&(target, scale): &(usize, f64)| targets[target].profile().scaled(scale);
        let measured = evaluator.measure(scales.iter().map(profile).collect(), &mut *on_progress)?;
        for ((target, scale), measurement) in scales.into_iter().zip(measured) {
            tunings[target].add(scale, measurement);
        }
    }
    let confidence = evaluator.request.choice.confidence;
    let mut tuned: Vec<_> =
        tunings.into_iter().map(|tuning| tuning.finish(confidence, |measured| evaluator.admits(measured))).collect();
    let (whole, tried) = tuned.swap_remove(0);
    let (chosen, tried) = tuned.pop().unwrap_or_else(|| (whole.clone(), tried));
    Ok(Tuned { chosen, tried, whole })
}

/// A boundary chosen at the best scale of the whole adapter.
struct JointChoice {
    choice: Choice,
    candidate: Candidate,
    /// The boundaries at that scale. The last point, the reference, is the whole adapter at full strength.
    curve: Curve,
}

impl JointChoice {
    /// Chooses among boundaries at the best scale of the whole adapter; `None` if that is 1.
    fn find(
        evaluator: &Evaluator,
        tuned: &Tuned,
        is_allowed: &dyn Fn(usize) -> bool,
        on_progress: OnProgress,
    ) -> Result<Option<Self>> {
        let scale = tuned.whole.scale();
        if scale == 1.0 {
            return Ok(None);
        }
        let boundaries: Vec<usize> = measure::candidates(evaluator.adapter()).into_iter().collect();
        let profile = |&boundary: &usize| Profile::below(boundary, evaluator.layers()).scaled(scale);
        let measured = evaluator.measure(boundaries.iter().map(profile).collect(), on_progress)?;
        let last = boundaries.last().copied().unwrap_or(0);
        let mut points: Vec<Point> = boundaries
            .into_iter()
            .zip(measured)
            .map(|(boundary, measurement)| Point { boundary, measurement })
            .collect();
        points.push(Point { boundary: last + 1, measurement: evaluator.whole().measurement });
        let curve = Curve { points, work: Default::default() };
        let is_boundary = |boundary: usize| boundary <= last && is_allowed(boundary);
        let choice = choice::choose(&curve, &evaluator.request.choice, is_boundary);
        let measurement = curve.at(choice.boundary()).cloned().unwrap_or_default();
        let candidate = Candidate { scale, measurement, ..evaluator.below(choice.boundary()) };
        Ok((choice.boundary() > 0).then_some(Self { choice, candidate, curve }))
    }

    fn boundaries(&self) -> Vec<ScaledBoundary> {
        let [boundaries @ .., _] = self.curve.points.as_slice() else { return Vec::new() };
        let scaled = |point: &Point| ScaledBoundary { boundary: point.boundary, loss: point.measurement.loss() };
        boundaries.iter().map(scaled).collect()
    }

    /// Whether the rule prefers this to the boundary chosen at full strength with its loss at its best scale.
    fn is_preferred_to(&self, own: (usize, f64), evaluator: &Evaluator, is_allowed: &dyn Fn(usize) -> bool) -> bool {
        let is_boundary = |boundary: usize| boundary < self.curve.whole().boundary && is_allowed(boundary);
        let options = &evaluator.request.choice;
        let candidates = Candidates::new(&self.curve, options, &is_boundary);
        options.rule.prefers_scaled(&candidates, &self.choice.chosen, own)
    }
}
