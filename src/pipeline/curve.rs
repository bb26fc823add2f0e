//! From samples to a boundary: measures what the rule needs, and lets it choose.

use std::collections::BTreeMap;

use super::Request;
use crate::choice::rules::curve as probability_curve;
use crate::choice::stability::{Share, stability};
use crate::choice::{self, AnswerScores, Basis, Choice, ChoiceOptions};
use crate::error::Result;
use crate::measure::{self, Completion, Curve, Lens, OnProgress, SampleSize};
use crate::model::AdaptedModel;
use crate::samples::Sample;
use crate::search::{self, Dropped};

/// A choice, and what was measured for it.
pub struct BoundaryChoice {
    pub curve: Curve,
    pub dropped: Vec<Dropped>,
    /// Measured if the rule or the user asks for it.
    pub lens: Option<Lens>,
    pub choice: Choice,
    pub stability: Vec<Share>,
    /// The answers that it was made by, if it was made by answers.
    pub answers: Option<ChoiceAnswers>,
}

/// The answers that a choice was made by.
pub struct ChoiceAnswers {
    pub scores: AnswerScores,
    /// By boundary.
    pub completions: BTreeMap<usize, Vec<Completion>>,
}

/// Whether the adapter with this index may be cut at a boundary.
pub type IsAllowed<'a> = &'a dyn Fn(usize, usize) -> bool;

/// Measures and chooses for each adapter of one base model, among the boundaries that `is_allowed` admits for it.
pub fn choose(
    adapted: &[&AdaptedModel],
    samples: &[Sample],
    request: &Request,
    is_allowed: IsAllowed,
    on_progress: OnProgress,
) -> Result<Vec<BoundaryChoice>> {
    let request = &request.by_stage();
    // A choice by the scores of answers takes it from there.
    let options = &if request.choice.score.is_some() { request.choice.screening() } else { request.choice.clone() };
    if options.rule.basis() == Basis::Probability || request.probability {
        let each = adapted.iter().enumerate();
        let choose = |(index, adapted): (usize, &&AdaptedModel)| {
            choose_with_lens(
                adapted,
                samples,
                (request, options),
                &|boundary| is_allowed(index, boundary),
                &mut *on_progress,
            )
        };
        return each.map(choose).collect();
    }
    let curves = curves(adapted, samples, request, options, on_progress)?.into_iter().enumerate();
    let choose = |(index, measured)| choose_by_losses(measured, None, options, &|boundary| is_allowed(index, boundary));
    Ok(curves.map(choose).collect())
}

/// Chooses by the probability curve, or measures it beside the losses.
fn choose_with_lens(
    adapted: &AdaptedModel,
    samples: &[Sample],
    (request, options): (&Request, &ChoiceOptions),
    is_allowed: &dyn Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<BoundaryChoice> {
    let lens = measure::logit_lens(adapted, samples, &request.compute, &mut *on_progress)?;
    if options.rule.basis() != Basis::Probability {
        let measured = curves(&[adapted], samples, request, options, on_progress)?.remove(0);
        return Ok(choose_by_losses(measured, Some(lens), options, is_allowed));
    }
    // The boundary is known before any loss is measured; the losses only say how good it is.
    let candidates = measure::candidates(adapted.adapter());
    let reading = probability_curve::read(&lens, &candidates, is_allowed);
    let options = ChoiceOptions { boundary: Some(reading.boundary), ..options.clone() };
    let (curve, dropped) = curves(&[adapted], samples, request, &options, on_progress)?.remove(0);
    let mut choice = choice::choose(&curve, &options, is_allowed);
    if choice.boundary() == reading.boundary {
        choice.reason = reading.reason;
    }
    let stability = probability_curve::stability(&lens, &SampleSize::draws(curve.sizes()), &candidates, is_allowed);
    Ok(BoundaryChoice { curve, dropped, lens: Some(lens), choice, stability, answers: None })
}

/// Chooses by the losses, or takes the user's boundary.
fn choose_by_losses(
    (curve, dropped): (Curve, Vec<Dropped>),
    lens: Option<Lens>,
    options: &ChoiceOptions,
    is_allowed: &dyn Fn(usize) -> bool,
) -> BoundaryChoice {
    let went_on = search::may_be_chosen(&dropped, options.rule);
    let is_candidate = |boundary: usize| is_allowed(boundary) && went_on(boundary);
    let choice = choice::choose(&curve, options, is_candidate);
    let stability = stability(&curve, options, is_candidate);
    BoundaryChoice { curve, dropped, lens, choice, stability, answers: None }
}

/// The curve of each adapter, and what a search dropped from it.
fn curves(
    adapted: &[&AdaptedModel],
    samples: &[Sample],
    request: &Request,
    choice: &ChoiceOptions,
    on_progress: OnProgress,
) -> Result<Vec<(Curve, Vec<Dropped>)>> {
    match request.search {
        Some(options) => search::run(adapted, samples, choice, options, &request.compute, on_progress),
        None => {
            let curves = measure::sweep(adapted, samples, &request.compute, on_progress)?;
            Ok(curves.into_iter().map(|curve| (curve, Vec::new())).collect())
        }
    }
}
