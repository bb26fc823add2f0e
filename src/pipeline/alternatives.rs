//! What else could have been done with the adapter than what is written.

use super::evaluator::{Candidate, Evaluator};
use super::scale::ScaleSearch;
use crate::choice::controls::controls;
use crate::choice::{Assessment, Reference};
use crate::error::Result;
use crate::measure::{self, Measurement, OnProgress, Profile};
use crate::report::alternatives::Alternative;

/// What is written, first, and what could have been: what the rule chose at full strength and the whole adapter, both with and
/// without a scale, the boundary that parts were taken out below, and with `--controls` other layers.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    scaled: &ScaleSearch,
    on_progress: OnProgress,
) -> Result<Vec<Candidate>> {
    let mut all = vec![scaled.written.clone()];
    let (full, below, whole) = (&scaled.full, evaluator.below(boundary), evaluator.whole());
    let is_boundary = scaled.report.is_none() && full.selection == below.selection;
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
    // Two searches may come to the same candidate.
    let mut unique: Vec<Candidate> = Vec::new();
    for candidate in all {
        let is_same = |other: &Candidate| (&other.selection, other.scale) == (&candidate.selection, candidate.scale);
        if !unique.iter().any(is_same) {
            unique.push(candidate);
        }
    }
    Ok(unique)
}

/// As many layers as are written, at the same scale, but other ones.
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
            measurement: Measurement::default(),
        })
        .collect();
    let measured = evaluator.measure(candidates.iter().map(Candidate::profile).collect(), on_progress)?;
    candidates.iter_mut().zip(measured).for_each(|(candidate, measured)| candidate.measurement = measured);
    Ok(candidates)
}

/// The candidates as the report has them, each against the first, which is written; none where there is no other. `held_out` are the
/// measurements of each on held-out samples, with what they are held against.
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
        bytes: evaluator.bytes(&candidate.selection),
        written: index == 0,
        samples: evaluator.reference().assess_against(&candidate.measurement, &written.measurement),
        held_out: on_held_out(index),
    };
    candidates.iter().enumerate().map(alternative).collect()
}
