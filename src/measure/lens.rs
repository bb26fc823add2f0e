//! The logit lens: how likely the true tokens are behind each layer, in the base model and with the whole adapter.
//!
//! The final norm and the head are applied behind every layer as if the model ended there. The output head is expensive: it
//! reads the answers of both streams behind every layer, so as many of these rows as fit are gathered before it is loaded.

use std::path::PathBuf;

use super::memory::Budget;
use super::walk::walk_base_and_whole;
use super::{Activity, ComputeOptions, OnProgress, Work};
use crate::error::{ComputeError, Result};
use crate::model::AdaptedModel;
use crate::samples::Sample;

/// The base model and the whole adapter.
const STREAMS: usize = 2;

/// What the head reads from one stream behind a number of layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readout {
    /// The probabilities of each sample's answer tokens, summed.
    pub probabilities: Vec<f64>,
    /// The negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub losses: Vec<f64>,
}

/// The readouts of both streams, behind 0, 1, … all layers. Behind all of them the losses are those of boundary 0 and of
/// the whole adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    pub base: Vec<Readout>,
    pub adapted: Vec<Readout>,
    /// The answer tokens of each sample.
    pub tokens: Vec<usize>,
    /// What the layers cost, without the head.
    pub work: Work,
}

/// Reads the answers of `samples` behind every layer.
pub fn logit_lens(
    adapted: &AdaptedModel,
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Lens> {
    let model = adapted.model();
    // The rows that wait for the head may take as much memory as the streams.
    let budget = Budget::for_samples(model, 2 * STREAMS, options.memory, samples)?;
    let empty = Readout { probabilities: vec![0.0; samples.len()], losses: vec![0.0; samples.len()] };
    let mut readouts = [(); STREAMS].map(|()| vec![empty.clone(); model.config.layers + 1]);
    let mut rows = Vec::new();
    let mut unread = 0;
    let work = walk_base_and_whole(
        adapted,
        samples,
        &budget,
        (Activity::Probabilities, on_progress),
        |pass, layers, streams| {
            for stream in &*streams {
                rows.push(adapted.answer_rows(&stream.hidden, pass, layers)?);
            }
            let (batch, is_last) = (pass.batch, layers == model.config.layers);
            let inside = budget.streams_side_by_side(batch.tokens(), model.device()).min(STREAMS);
            let rows_at_once = budget.spare_rows(batch.tokens(), inside) / batch.answers.len().max(1);
            if !is_last && rows.len() + STREAMS <= rows_at_once {
                return Ok(());
            }
            for (index, scores) in adapted.score_answers(&rows, batch)?.iter().enumerate() {
                let layers = unread + index / STREAMS;
                let readout = &mut readouts[index % STREAMS][layers];
                for (sample, answers) in &batch.samples {
                    let scores = &scores[answers.clone()];
                    readout.losses[*sample] = scores.iter().map(|score| score.loss).sum();
                    readout.probabilities[*sample] = scores.iter().map(|score| (-score.loss).exp()).sum();
                    if !readout.losses[*sample].is_finite() {
                        let (base, samples) = (model.path.clone(), PathBuf::new());
                        return Err(ComputeError::NotFiniteBehind { base, samples, layers, sample: *sample + 1 }.into());
                    }
                }
            }
            rows.clear();
            unread = if is_last { 0 } else { layers + 1 };
            Ok(())
        },
    )?;
    let [base, adapted] = readouts;
    Ok(Lens { base, adapted, tokens: samples.iter().map(Sample::answers).collect(), work })
}
