//! From samples to a boundary: what the rule needs is measured, and then it chooses.

use super::Request;
use crate::choice::probability;
use crate::choice::stability::{Share, stability};
use crate::choice::{self, Choice, Rule};
use crate::error::Result;
use crate::model::Ends;
use crate::samples::Sample;
use crate::search::{self, Dropped};
use crate::sweep::lens::{self, Lens};
use crate::sweep::{self, Curve, Watch};

/// A choice, and what was measured for it.
pub struct Chosen {
    pub curve: Curve,
    pub dropped: Vec<Dropped>,
    /// Where the rule or the user wants it.
    pub lens: Option<Lens>,
    pub choice: Choice,
    pub stability: Vec<Share>,
}

/// Measures and chooses among the boundaries that `allowed` admits.
pub fn choose(
    ends: &Ends,
    samples: &[Sample],
    request: &Request,
    allowed: impl Fn(usize) -> bool,
    watch: Watch,
) -> Result<Chosen> {
    let reads = request.choice.rule == Rule::Curve;
    let lens = match reads || request.probability {
        true => Some(lens::look(ends, samples, &request.sweep, &mut *watch)?),
        false => None,
    };
    let Some(seen) = lens.as_ref().filter(|_| reads) else {
        let (curve, dropped) = curve_of(ends, samples, request, &request.choice, watch)?;
        let went_on = search::may_be_chosen(&dropped, request.choice.rule);
        let allowed = |boundary: usize| allowed(boundary) && went_on(boundary);
        let choice = choice::choose(&curve, &request.choice, allowed);
        let stability = stability(&curve, &request.choice, allowed);
        return Ok(Chosen { curve, dropped, lens, choice, stability });
    };
    // The boundary is known before any loss is measured; the losses tell what it is worth.
    let candidates = sweep::candidates(ends.adapter());
    let reading = probability::read(seen, &candidates, &allowed);
    let options = choice::Options { boundary: Some(reading.boundary), ..request.choice.clone() };
    let (curve, dropped) = curve_of(ends, samples, request, &options, watch)?;
    let choice = Choice { reason: reading.reason, ..choice::choose(&curve, &options, &allowed) };
    let stability = probability::stability(seen, &candidates, &allowed);
    Ok(Chosen { curve, dropped, lens, choice, stability })
}

/// The curve of one adapter, and what a search dropped from it.
fn curve_of(
    ends: &Ends,
    samples: &[Sample],
    request: &Request,
    choice: &choice::Options,
    watch: Watch,
) -> Result<(Curve, Vec<Dropped>)> {
    let ends = std::slice::from_ref(ends);
    let mut found = match request.search {
        Some(options) => search::run(ends, samples, choice, options, &request.sweep, watch)?,
        None => {
            let curves = sweep::sweep(ends, samples, &request.sweep, watch)?;
            curves.into_iter().map(|curve| (curve, Vec::new())).collect()
        }
    };
    Ok(found.remove(0))
}
