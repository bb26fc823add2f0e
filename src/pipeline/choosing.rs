//! From samples to a boundary: what the rule needs is measured, and then it chooses.

use super::Request;
use crate::choice::probability;
use crate::choice::stability::{Share, stability};
use crate::choice::{self, Choice, Rule};
use crate::error::Result;
use crate::measure::lens::{self, Lens};
use crate::measure::{self, Curve, OnProgress};
use crate::model::AdaptedModel;
use crate::samples::Sample;
use crate::search::{self, Dropped};

/// A choice, and what was measured for it.
pub struct Chosen {
    pub curve: Curve,
    pub dropped: Vec<Dropped>,
    /// Where the rule or the user wants it.
    pub lens: Option<Lens>,
    pub choice: Choice,
    pub stability: Vec<Share>,
}

/// Measures and chooses for each adapter of one base model, among the boundaries that `allowed` admits for the adapter of that
/// place.
pub fn choose(
    ends: &[&AdaptedModel],
    samples: &[Sample],
    request: &Request,
    allowed: impl Fn(usize, usize) -> bool,
    on_progress: OnProgress,
) -> Result<Vec<Chosen>> {
    let allowed = |place: usize| {
        let allowed = &allowed;
        move |boundary: usize| allowed(place, boundary)
    };
    if request.choice.rule == Rule::Curve || request.probability {
        let each = ends.iter().enumerate();
        return each
            .map(|(place, ends)| choose_seen(ends, samples, request, allowed(place), &mut *on_progress))
            .collect();
    }
    let curves = curves(ends, samples, request, &request.choice, on_progress)?.into_iter().enumerate();
    Ok(curves.map(|(place, measured)| choose_measured(measured, None, request, allowed(place))).collect())
}

/// By what is seen through the lens, or with that beside.
fn choose_seen(
    ends: &AdaptedModel,
    samples: &[Sample],
    request: &Request,
    allowed: impl Fn(usize) -> bool,
    on_progress: OnProgress,
) -> Result<Chosen> {
    let lens = lens::look(ends, samples, &request.sweep, &mut *on_progress);
    let lens = lens.map_err(|error| error.on_samples(&request.samples))?;
    if request.choice.rule != Rule::Curve {
        let measured = curves(&[ends], samples, request, &request.choice, on_progress)?.remove(0);
        return Ok(choose_measured(measured, Some(lens), request, allowed));
    }
    // The boundary is known before any loss is measured; the losses tell what it is worth.
    let candidates = measure::candidates(ends.adapter());
    let reading = probability::read(&lens, &candidates, &allowed);
    let options = choice::ChoiceOptions { boundary: Some(reading.boundary), ..request.choice.clone() };
    let (curve, dropped) = curves(&[ends], samples, request, &options, on_progress)?.remove(0);
    let choice = Choice { reason: reading.reason, ..choice::choose(&curve, &options, &allowed) };
    let stability = probability::stability(&lens, &candidates, &allowed);
    Ok(Chosen { curve, dropped, lens: Some(lens), choice, stability })
}

/// By the losses, or as the user says.
fn choose_measured(
    (curve, dropped): Measured,
    lens: Option<Lens>,
    request: &Request,
    allowed: impl Fn(usize) -> bool,
) -> Chosen {
    let went_on = search::may_be_chosen(&dropped, request.choice.rule);
    let allowed = |boundary: usize| allowed(boundary) && went_on(boundary);
    let choice = choice::choose(&curve, &request.choice, allowed);
    let stability = stability(&curve, &request.choice, allowed);
    Chosen { curve, dropped, lens, choice, stability }
}

/// The curve of an adapter, and what a search dropped from it.
type Measured = (Curve, Vec<Dropped>);

fn curves(
    ends: &[&AdaptedModel],
    samples: &[Sample],
    request: &Request,
    choice: &choice::ChoiceOptions,
    on_progress: OnProgress,
) -> Result<Vec<Measured>> {
    let curves = match request.search {
        Some(options) => search::run(ends, samples, choice, options, &request.sweep, on_progress),
        None => measure::sweep(ends, samples, &request.sweep, on_progress)
            .map(|curves| curves.into_iter().map(|curve| (curve, Vec::new())).collect()),
    };
    curves.map_err(|error| error.on_samples(&request.samples))
}
