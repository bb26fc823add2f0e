//! Choosing by the scores of generated answers: only the boundaries that cheap measures leave answer.

use std::collections::BTreeMap;

use super::answers::Tasks;
use super::curve::{BoundaryChoice, ChoiceAnswers};
use super::evaluator::{Candidate, Evaluator};
use super::subject::Subject;
use crate::choice::{AnswerScores, Choice, ChoiceOptions, Reference, choose_by};
use crate::error::Result;
use crate::measure::{self, Curve, OnProgress, Point};
use crate::metrics::Score;

/// How many boundaries answer side by side before the next ones do: a rule that stops at the first that fails rarely needs more.
const SIDE_BY_SIDE: usize = 4;

/// Chooses by the scores of answers, at the boundaries that cheap measures have left in `screened`.
pub fn choose(
    score: Score,
    subject: &Subject,
    tasks: &Tasks,
    mut screened: BoundaryChoice,
    on_progress: OnProgress,
) -> Result<BoundaryChoice> {
    let (options, lowest) = (subject.request.by_stage().choice, screened.choice.boundary());
    let candidates = candidates(subject, &screened, &options);
    fill_in(subject, &mut screened.curve, &candidates, &mut *on_progress)?;
    let curve = &screened.curve;
    let evaluator = evaluator(subject, curve);
    let (base, whole) = (curve.base().boundary, curve.whole().boundary);
    let mut answers = ChoiceAnswers { scores: AnswerScores::new(score, curve.sizes()), completions: BTreeMap::new() };
    let mut rest: Vec<usize> = candidates.into_iter().filter(|one| ![base, whole].contains(one)).collect();
    let mut next = vec![base, whole];
    loop {
        next.extend(rest.drain(rest.len().saturating_sub(SIDE_BY_SIDE)..));
        let profiles: Vec<_> = next.iter().map(|&boundary| evaluator.below(boundary).selection).collect();
        let generated = tasks.generate(&evaluator, &profiles, &mut *on_progress)?;
        for (&boundary, completions) in next.iter().zip(generated) {
            answers.scores.add(boundary, tasks.counts(score, &completions)?);
            answers.completions.insert(boundary, completions);
        }
        let holds = |&boundary: &usize| answers.scores.holds_at(boundary, options.margin, options.confidence);
        let stops = options.rule.descends() && !next.iter().filter(|&&one| one != base).all(holds);
        next.clear();
        if stops || rest.is_empty() {
            break;
        }
    }
    // Without a comparison the base model is no candidate.
    let may_be_none = lowest == base;
    let is_candidate =
        |boundary: usize| answers.scores.has(boundary) && (boundary > base || may_be_none) && subject.allows(boundary);
    let gains = answers.scores.gains();
    // Whatever scores as low as the base model would be as good as an adapter that gains nothing. A part of it may be better.
    let may_help = |boundary| !options.rule.descends() && answers.scores.at(boundary) > answers.scores.at(base);
    let is_candidate = |boundary: usize| is_candidate(boundary) && (gains || boundary == whole || may_help(boundary));
    let mut choice: Choice = choose_by(Some(&answers.scores), curve, &options, is_candidate);
    if !gains && choice.boundary() == whole {
        choice.reason =
            format!("the whole adapter is kept: its answers score no higher in {} than the base model's", score.name());
    }
    screened.dropped.retain(|dropped| curve.at(dropped.boundary).is_none());
    Ok(BoundaryChoice { choice, stability: Vec::new(), answers: Some(answers), ..screened })
}

/// The boundaries that answer: those from the one that was chosen in `screened` upwards or, for a rule that may step over bad ones
/// where nothing is guarded, all that have not lost much token accuracy.
fn candidates(subject: &Subject, screened: &BoundaryChoice, options: &ChoiceOptions) -> Vec<usize> {
    let allowed = |boundary: &usize| subject.allows(*boundary);
    if options.rule.descends() || options.guard.is_some() {
        let lowest = screened.choice.boundary();
        return measure::candidates(&subject.adapter).range(lowest..).copied().filter(allowed).collect();
    }
    let (curve, screening) = (&screened.curve, options.screening());
    let (base, whole) = (&curve.base().measurement, &curve.whole().measurement);
    let reference = Reference { base, whole, confidence: screening.confidence };
    let is_near = |point: &&Point| {
        let lost = screening.measure.mean(&point.measurement) - screening.measure.mean(whole);
        lost <= reference.margin(screening.measure, screening.margin)
    };
    curve.points.iter().filter(is_near).map(|point| point.boundary).filter(allowed).collect()
}

/// Whether the answers of a candidate that is no boundary of the curve are as good as a choice by answers requires.
pub fn holds(
    answers: &ChoiceAnswers,
    candidate: &Candidate,
    tasks: &Tasks,
    evaluator: &Evaluator,
    on_progress: OnProgress,
) -> Result<bool> {
    let options = evaluator.request.by_stage().choice;
    let completions = tasks.generate(evaluator, &[candidate.profile()], on_progress)?.remove(0);
    let counts = tasks.counts(answers.scores.score, &completions)?;
    Ok(answers.scores.holds(&counts, options.margin, options.confidence))
}

/// Measures the boundaries that the curve lacks, because a search decided on them early.
fn fill_in(subject: &Subject, curve: &mut Curve, boundaries: &[usize], on_progress: OnProgress) -> Result<()> {
    let missing: Vec<usize> = boundaries.iter().copied().filter(|&boundary| curve.at(boundary).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let measured = {
        let evaluator = evaluator(subject, curve);
        evaluator.measure(missing.iter().map(|&one| evaluator.below(one).selection).collect(), on_progress)?
    };
    let points = missing.into_iter().zip(measured).map(|(boundary, measurement)| Point { boundary, measurement });
    curve.points.extend(points);
    curve.points.sort_by_key(|point| point.boundary);
    Ok(())
}

fn evaluator<'a>(subject: &'a Subject, curve: &'a Curve) -> Evaluator<'a> {
    let samples = &subject.inputs.choosing.samples;
    Evaluator { adapted: &subject.adapted, samples, curve, request: subject.request }
}
