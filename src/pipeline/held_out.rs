//! Checking a choice on samples that had no part in it.

use std::collections::BTreeSet;

use super::Request;
use super::prepare::Prepared;
use crate::choice::held_out::judge;
use crate::error::Result;
use crate::model::Ends;
use crate::report::HeldOut;
use crate::samples::Sample;
use crate::settings::HeldOutFrom;
use crate::sweep::{self, Curve, Sweep, Watch};

/// Evaluates the base model, the chosen boundary and the whole adapter, and nothing else, on held-out samples.
pub fn check(chosen: usize, held_out: &Prepared, ends: &Ends, request: &Request, watch: Watch) -> Result<HeldOut> {
    let samples = &held_out.samples;
    let whole = sweep::candidates(ends.adapter()).last().copied().unwrap_or(0);
    let boundaries = BTreeSet::from([0, chosen, whole]);
    let mut sweep =
        Sweep::new(std::slice::from_ref(ends), samples, vec![(0..samples.len()).collect()], &request.sweep)?;
    let points = sweep.run(0, &[boundaries], watch)?.remove(0);
    let curve = Curve { points, answers: samples.iter().map(Sample::answers).collect(), work: sweep.work[0] };
    Ok(HeldOut {
        samples: held_out.description.clone(),
        share: match request.held_out {
            Some(HeldOutFrom::Share(share)) => Some(share),
            _ => None,
        },
        verdict: judge(&curve, chosen, &request.choice),
    })
}
