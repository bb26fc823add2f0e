//! The alternatives to what is written, measured on the same samples.

use super::evaluator::{Candidate, Evaluator};
use super::scale::ScaleSearch;
use crate::choice::controls::controls;
use crate::choice::{Assessment, Reference};
use crate::error::Result;
use crate::measure::{self, Measurement, OnProgress, Profile};
use crate::report::alternatives::Alternative;

/// What is written, first, and its alternatives: the whole adapter and the rule's choice, each at full strength and at its best
/// scale; the boundary before parts below it were removed; and, with `--controls`, other layers.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    scaled: &ScaleSearch,
    on_progress: OnProgress,
) -> Result<Vec<Candidate>> {
    let mut all = vec![scaled.written.clone()];
    let (full, below, whole) = (&scaled.full, evaluator.below(boundary), evaluator.whole());
    let is_boundary = scaled.report.is_none() && full.is_same(&below);
    if boundary == 0 || is_boundary && !evaluator.request.controls {
        return Ok(all);
    }
    if let Some(tuned) = &scaled.tuned {
        all.extend([full.scaled(&tuned.chosen), whole.scaled(&tuned.whole)]);
    }
    all.extend([full.clone(), below, whole]);
    if evaluator.request.controls {
        all.extend(measure_controls(evaluator, &scaled.written, on_progress)?);
    }
    // Two searches may find the same candidate.
    let mut unique: Vec<Candidate> = Vec::new();
    for candidate in all {
        if !unique.iter().any(|other| other.is_same(&candidate)) {
            unique.push(candidate);
        }
    }
    Ok(unique)
}

/// The controls: other layers, as many as are written, at the same scale.
fn measure_controls(evaluator: &Evaluator, written: &Candidate, on_progress: OnProgress) -> Result<Vec<Candidate>> {
    let (adapter, request) = (evaluator.adapter(), evaluator.request);
    let (all, kept) = (adapter.layers(), written.selection.layers());
    if kept == all {
        return Ok(Vec::new());
    }
    let effects = measure::effects(evaluator.adapted, evaluator.samples, &request.compute, &mut *on_progress)?;
    let chosen = controls(&all, kept.len(), &adapter.layer_norms()?, &effects);
    let mut candidates: Vec<Candidate> = chosen
        .into_iter()
        .map(|(kept, layers)| Candidate {
            kept,
            selection: Profile::of_layers(&layers, evaluator.layers()),
            scale: written.scale,
            rewritten: None,
            measurement: Measurement::default(),
        })
        .collect();
    let measured = evaluator.measure(candidates.iter().map(Candidate::profile).collect(), on_progress)?;
    candidates.iter_mut().zip(measured).for_each(|(candidate, measured)| candidate.measurement = measured);
    Ok(candidates)
}

/// The candidates for the report, each compared with the first, which is written; none if there is only that one. `held_out` has
/// their measurements on held-out samples, and the reference there.
pub fn describe(
    candidates: &[Candidate],
    evaluator: &Evaluator,
    held_out: Option<(&[Measurement], Reference)>,
) -> Vec<Alternative> {
    let [written, _, ..] = candidates else { return Vec::new() };
    let on_held_out = |index: usize| -> Option<Assessment> {
        let (measured, reference) = held_out.as_ref()?;
        Some(reference.assess_against(&measured[index], &measured[0]))
    };
    let alternative = |(index, candidate): (usize, &Candidate)| Alternative {
        kept: candidate.kept,
        layers: candidate.selection.layers().into_iter().collect(),
        scale: candidate.scale,
        bytes: evaluator.bytes_of(candidate),
        written: index == 0,
        samples: evaluator.reference().assess_against(&candidate.measurement, &written.measurement),
        held_out: on_held_out(index),
    };
    candidates.iter().enumerate().map(alternative).collect()
}
