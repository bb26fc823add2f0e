//! The lens: how likely the true tokens are behind each layer, in the base model and with the whole adapter.
//!
//! The final norm and the head are put behind every layer as if the model ended there (the "logit lens"). Both streams go
//! through the layers side by side, so that each weight is read once per pass and everything costs two layer passes
//! for each layer, whatever the number of boundaries. The head is the dear part: it meets the answers of both streams
//! behind every layer, so as many of these as fit are gathered before it is read.

use candle_core::Tensor;

use super::budget::Budget;
use super::layers::{AdaptedLayer, BaseLayers};
use super::walk::Stream;
use super::{ComputeOptions, OnProgress, Progress, Strength, Work};
use crate::error::{ComputeError, Result};
use crate::model::{AdaptedModel, Pass, TokenScore};
use crate::samples::Sample;
use crate::samples::packing::{self, Batch};

/// The base model and the whole adapter.
const STREAMS: usize = 2;

/// What one stream makes of the answers behind a number of layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The probabilities of each sample's answer tokens, summed.
    pub probability: Vec<f64>,
    /// The negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub loss: Vec<f64>,
}

/// The views of both streams, behind 0, 1, … all layers. Behind all of them the losses are those of boundary 0 and of
/// the whole adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    pub base: Vec<View>,
    pub adapted: Vec<View>,
    /// The answer tokens of each sample.
    pub answers: Vec<usize>,
    /// What the layers cost; the head comes on top.
    pub work: Work,
}

/// Looks at `samples` behind every layer.
pub fn look(
    ends: &AdaptedModel,
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Lens> {
    let model = ends.model();
    // As much again as the streams take is for the rows that wait for the head.
    let budget = Budget::new(model, 2 * STREAMS, options.memory);
    let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
    let batches = packing::plan(samples, budget.tokens_per_pass(longest)?, model.shares_prefixes());
    let mut layers = BaseLayers::new(model, false);
    let cost = |batch: &Batch| (STREAMS * model.config.layers * batch.tokens()) as u64;
    let total = batches.iter().map(cost).sum();
    let empty = View { probability: vec![0.0; samples.len()], loss: vec![0.0; samples.len()] };
    let mut views = [(); STREAMS].map(|()| vec![empty.clone(); model.config.layers + 1]);
    let mut done = 0;
    for (pass, batch) in batches.iter().enumerate() {
        let walk = Walk { ends, batch, budget: &budget };
        let mut step = |layer, tokens| {
            done += tokens;
            on_progress(Progress { pass, passes: batches.len(), layer, done, total })
        };
        let outcomes = walk.outcomes(&mut layers, &mut step)?;
        for (place, answers) in &batch.samples {
            for (index, outcomes) in outcomes.iter().enumerate() {
                let view = &mut views[index % STREAMS][index / STREAMS];
                let outcomes = &outcomes[answers.clone()];
                view.loss[*place] = outcomes.iter().map(|outcome| outcome.loss).sum();
                view.probability[*place] = outcomes.iter().map(|outcome| (-outcome.loss).exp()).sum();
                if !view.loss[*place].is_finite() {
                    let (base, samples, layers) = (model.path.clone(), Default::default(), index / STREAMS);
                    return Err(ComputeError::NotFiniteBehind { base, samples, layers, sample: *place + 1 }.into());
                }
            }
        }
    }
    let [base, adapted] = views;
    let work = Work { passes: batches.len(), layer_tokens: total };
    Ok(Lens { base, adapted, answers: samples.iter().map(Sample::answers).collect(), work })
}

/// One walk of a batch through the layers.
struct Walk<'a> {
    ends: &'a AdaptedModel<'a>,
    batch: &'a Batch,
    budget: &'a Budget,
}

impl Walk<'_> {
    /// The batch's answer tokens as the streams have them behind 0, 1, … layers: `[layers · STREAMS + stream][answer]`.
    fn outcomes(
        &self,
        layers: &mut BaseLayers,
        step: &mut dyn FnMut(usize, u64) -> bool,
    ) -> Result<Vec<Vec<TokenScore>>> {
        let (model, tokens) = (self.ends.model(), self.batch.tokens());
        let pass = Pass::new(model, self.batch)?;
        let side_by_side = self.budget.streams_side_by_side(tokens, model.device()).min(STREAMS);
        let rows_at_once = self.budget.spare_rows(tokens, side_by_side) / self.batch.answers.len().max(1);
        let mut streams = self.streams(self.ends.first_hidden(self.batch)?);
        let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
        for index in 0..=model.config.layers {
            for stream in &streams {
                rows.push(self.ends.answer_rows(&stream.hidden, &pass, index)?);
            }
            let is_last = index == model.config.layers;
            if is_last || rows.len() + STREAMS > rows_at_once {
                outcomes.extend(self.ends.score_answers(&rows, self.batch)?);
                rows.clear();
            }
            if !is_last {
                let mut streams: Vec<&mut Stream> = streams.iter_mut().collect();
                let layer = AdaptedLayer::load(layers, &[self.ends], index, streams.iter().map(|stream| stream.way()))?;
                layer.take(&mut streams, &pass, side_by_side, &mut |tokens| step(index, tokens))?;
            }
        }
        Ok(outcomes)
    }

    fn streams(&self, hidden: Tensor) -> [Stream; STREAMS] {
        [Strength::NONE, Strength::FULL].map(|strength| Stream::with(0, strength, hidden.clone()))
    }
}
