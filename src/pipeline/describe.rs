//! Turns the results of the stages into the parts of the report.

use std::path::Path;

use super::Request;
use super::inputs::Prepared;
use crate::adapter::{Adapter, config};
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::planned::PlannedOutput;
use crate::audit::runtimes::{LoadOutcome, RUNTIMES};
use crate::audit::serving::{ServedAdapter, SlotMemory};
use crate::choice::{self, AssessedBoundary};
use crate::error::{FileError, Result};
use crate::files;
use crate::measure::{Curve, Measurement, Point, Profile};
use crate::measure::{Lens, Readout};
use crate::model::Model;
use crate::report::{
    AdapterInput, BaseInput, ChangedSample, CurvePoint, CutStack, InputFile, LayerShare, Likelihood, Output,
    ProbabilityPoint, changed,
};
use crate::rewrite::Cut;
use crate::rewrite::sidecars::Sidecars;

fn input_file(path: &Path, hash: bool) -> Result<InputFile> {
    Ok(InputFile {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: path.metadata().map_err(FileError::read(path))?.len(),
        blake3: if hash { Some(files::blake3(path)?) } else { None },
    })
}

/// Whether the files of an adapter are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    Now,
    Later,
}

pub fn adapter(name: &str, adapter: &Adapter, hashes: Hashing) -> Result<AdapterInput> {
    let config = adapter.path.join(config::FILE_NAME);
    let files = std::iter::once(config.as_path()).chain(adapter.weights.files());
    Ok(AdapterInput {
        path: name.into(),
        files: files.map(|file| input_file(file, hashes == Hashing::Now)).collect::<Result<_>>()?,
        rank: adapter.config.rank,
        alpha: adapter.config.alpha,
        layers: adapter.layers().into_iter().collect(),
        not_copied: Sidecars::find(&adapter.path)?.not_copied(),
    })
}

pub fn base(request: &Request, adapter: &Adapter, model: &Model) -> Result<BaseInput> {
    let named = request.base.as_deref().or(adapter.config.text("base_model_name_or_path"));
    Ok(BaseInput {
        path: named.unwrap_or_default().into(),
        files: model.files().map(|file| input_file(file, false)).collect::<Result<_>>()?,
        family: model.config.family.model_types[0].into(),
        quantisation: model.quantisation(),
        layers: model.config.layers,
        arithmetic: request.arithmetic.to_string(),
    })
}

pub fn curve(curve: &Curve, adapter: &Adapter, confidence: f64) -> Vec<CurvePoint> {
    let assessed = choice::assess(curve, confidence).into_iter().zip(&curve.points);
    let point = |(assessed, point): (AssessedBoundary, &Point)| {
        let scores = &point.measurement.scores;
        CurvePoint {
            assessed,
            bytes: adapter.bytes_below(point.boundary),
            per_sample: scores.iter().map(|score| score.loss).collect(),
            per_sample_probability: scores.iter().map(|score| score.probability).collect(),
            per_sample_correct: scores.iter().map(|score| score.correct).collect(),
            per_sample_end_loss: scores.iter().map(|score| score.end_loss).collect(),
            per_sample_end_correct: scores.iter().map(|score| score.end_correct).collect(),
        }
    };
    assessed.map(point).collect()
}

pub fn probability(lens: &Lens) -> Vec<ProbabilityPoint> {
    let likelihood = |readout: &Readout| Likelihood {
        probability: readout.mean_probability(&lens.tokens),
        loss: readout.mean_loss(&lens.tokens),
        per_sample: readout.probabilities.clone(),
    };
    let point = |(layers, (base, adapted)): (usize, (&Readout, &Readout))| ProbabilityPoint {
        layers,
        base: likelihood(base),
        adapted: likelihood(adapted),
    };
    lens.base.iter().zip(&lens.adapted).enumerate().map(point).collect()
}

pub fn layers(adapter: &Adapter, selection: &Profile) -> Result<Vec<LayerShare>> {
    let (norms, kept) = (adapter.layer_norms()?, selection.layers());
    let share =
        |(layer, bytes)| LayerShare { layer, bytes, norm: norms.get(&layer).copied(), kept: kept.contains(&layer) };
    Ok(adapter.layer_bytes().into_iter().map(share).collect())
}

/// The samples that change most between the whole adapter, the curve's last point, and what is written.
pub fn changed(prepared: &Prepared, curve: &Curve, written: &Measurement) -> Vec<ChangedSample> {
    let scored = prepared.samples.iter().zip(&prepared.excerpts).map(|(sample, excerpt)| changed::Scored {
        line: sample.line,
        answer_tokens: sample.answers(),
        excerpt: excerpt.clone(),
    });
    let losses = [&curve.whole().measurement, written].map(|one| one.losses().collect::<Vec<_>>());
    changed::most_changed(&scored.collect::<Vec<_>>(), &losses[0], &losses[1])
}

pub fn output(adapter: &Adapter, cut: &Cut) -> Output {
    let (tensors_after, bytes_after) = cut.kept_size();
    Output {
        kept_layers: cut.kept_layers.iter().copied().collect(),
        stacks: adapter.other_side().map(|(_, other)| CutStack { cut: adapter.stack.clone(), whole: other.into() }),
        tensors_before: adapter.tensors().count(),
        tensors_after,
        bytes_before: adapter.bytes_below(usize::MAX),
        bytes_after,
        format: None,
    }
}

/// What servers allocate for what a cut keeps of an adapter, and for the whole of it. Those that refuse it allocate nothing for it.
pub fn serving(base: &BaseFacts, whole: &Adapter, cut: &Cut) -> Vec<SlotMemory> {
    let Some((served, kept)) = ServedAdapter::of(whole).zip(ServedAdapter::of_cut(cut)) else { return Vec::new() };
    let refusing = PlannedOutput { base: base.clone(), ..Default::default() }.unmet(cut.adapter(), &RUNTIMES);
    let refuses = |slot: &SlotMemory| {
        refusing.iter().any(|(runtime, reason)| runtime.name == slot.runtime && reason.outcome == LoadOutcome::Refuses)
    };
    let mut slots = SlotMemory::of_smaller(base, &served, &kept);
    slots.retain(|slot| !refuses(slot));
    slots
}
