//! The scale of what is kept, found together with the boundary.
//!
//! The best scale of the chosen boundary is one candidate. The other is had the other way round: the best scale of the whole
//! adapter first, and then the boundary at that scale. An adapter that is too sure of itself is often best with most of
//! its layers at half their strength, which no search from a boundary finds.

use super::alternatives::{Given, Row};
use crate::choice::compare::mean;
use crate::choice::scale::{ScalePoint, Scaled, ScaledBoundary, Tuning};
use crate::choice::{self, Choice, Rule, percent, verdicts};
use crate::error::Result;
use crate::report::ScaleChoice;
use crate::settings::Scaling;
use crate::sweep::{self, Curve, Point, Profile, Scores, Watch};

/// What tuning has found.
pub struct Tuned {
    /// The choice among boundaries at full strength, at its best scale.
    pub chosen: Scaled,
    /// The scales that were tried for it.
    pub tried: Vec<ScalePoint>,
    /// The whole adapter at its best scale.
    pub whole: Scaled,
}

/// A choice with its scale.
pub struct Found {
    pub choice: Choice,
    /// What is written.
    pub written: Row,
    pub tuned: Option<Tuned>,
    pub report: Option<ScaleChoice>,
    /// The curve that the boundary was chosen from, if that is not the one at full strength.
    pub curve: Option<Curve>,
}

/// Finds the scale as far as it is asked for, and with it perhaps another boundary among those that `allowed` admits.
pub fn find(given: &Given, choice: Choice, allowed: impl Fn(usize) -> bool, watch: Watch) -> Result<Found> {
    let request = given.request;
    let full = given.below(choice.boundary);
    if choice.boundary == 0 {
        return Ok(Found { choice, written: full, tuned: None, report: None, curve: None });
    }
    let tunes = request.controls || request.scaling == Some(Scaling::Tune);
    let tuned = if tunes { Some(tune_both(given, &full, &mut *watch)?) } else { None };
    let found = |choice: Choice, written: Row, reason: String, tuned: Option<Tuned>| {
        let (loss, gain_kept) = given.worth(&written.scores);
        let tried = tuned.as_ref().map(|tuned| tuned.tried.clone()).unwrap_or_default();
        let report = ScaleChoice { scale: written.scale, reason, loss, gain_kept, tried, boundaries: Vec::new() };
        Found { choice, written, tuned, report: Some(report), curve: None }
    };
    match (request.scaling, tuned) {
        (None, tuned) => Ok(Found { choice, written: full, tuned, report: None, curve: None }),
        (Some(Scaling::By(factor)), tuned) => {
            let scores = given.evaluate(vec![full.profile(given.layers()).scaled(factor)], watch)?.remove(0);
            let written = Row { scale: factor, scores, ..full };
            Ok(found(choice, written, "the scale was given".into(), tuned))
        }
        (Some(Scaling::Tune), Some(tuned)) => {
            let joint =
                if request.choice.rule == Rule::Boundary { None } else { joint(given, &tuned, allowed, watch)? };
            match joint.filter(|joint| joint.beats(choice.boundary, &tuned.chosen, given)) {
                Some(joint) => {
                    let reason =
                        "it has the lowest loss of the whole adapter, and the boundary was chosen at it".into();
                    let boundaries = joint.curve.points[..joint.curve.points.len() - 1]
                        .iter()
                        .map(|point| ScaledBoundary { boundary: point.boundary, loss: joint.curve.loss(point) });
                    let boundaries = boundaries.collect();
                    let mut found = found(joint.choice, joint.row, reason, Some(tuned));
                    found.report.iter_mut().for_each(|report| report.boundaries = Vec::clone(&boundaries));
                    Ok(Found { curve: Some(joint.curve), ..found })
                }
                None => {
                    let reason = reason(tuned.chosen.scale(), request.choice.confidence);
                    Ok(found(choice, full.scaled(&tuned.chosen), reason, Some(tuned)))
                }
            }
        }
        (Some(Scaling::Tune), None) => unreachable!("what is asked for was tuned"),
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
fn tune_both(given: &Given, chosen: &Row, watch: Watch) -> Result<Tuned> {
    let whole = given.whole();
    let targets = if chosen.layers == whole.layers { vec![&whole] } else { vec![&whole, chosen] };
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
        let profile = |&(target, scale): &(usize, f64)| targets[target].profile(given.layers()).scaled(scale);
        let scores = given.evaluate(wanted.iter().map(profile).collect(), &mut *watch)?;
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

fn joint(given: &Given, tuned: &Tuned, allowed: impl Fn(usize) -> bool, watch: Watch) -> Result<Option<Joint>> {
    let scale = tuned.whole.scale();
    if scale == 1.0 {
        return Ok(None);
    }
    let boundaries: Vec<usize> = sweep::candidates(given.ends.adapter()).into_iter().collect();
    let profile = |&boundary: &usize| Profile::below(boundary, given.layers()).scaled(scale);
    let scores = given.evaluate(boundaries.iter().map(profile).collect(), watch)?;
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
    /// Whether the rule prefers this to the boundary chosen at full strength, at its best scale.
    fn beats(&self, boundary: usize, scaled: &Scaled, given: &Given) -> bool {
        match given.request.choice.rule {
            Rule::Smallest => {
                let verdicts = verdicts(&self.curve, &given.request.choice);
                let gain = verdicts[0].loss - verdicts[verdicts.len() - 1].loss;
                let margin = given.request.choice.margin * gain.max(0.0);
                let own = verdicts.iter().find(|verdict| verdict.boundary == self.choice.boundary);
                let holds = own.and_then(|own| own.difference_at_most).is_some_and(|most| most <= margin);
                holds && self.choice.boundary < boundary
            }
            _ => self.choice.loss < mean(&scaled.scores.per_sample, &given.curve.answers),
        }
    }
}
