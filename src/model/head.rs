//! From hidden states to scores: only answer positions, never all logits.
//!
//! The head is the largest matrix of a small model and its output the largest tensor of all, so it is read in chunks of the
//! vocabulary and applied to chunks of answer positions. `score.rs` keeps a few numbers of each chunk of logits.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor, Var};

use super::adapted::AdaptedModel;
use super::carried::hidden_of;
use super::linear::Linear;
use super::pass::Pass;
use super::scaling::{scaled, softcapped};
use super::score::{self, RunningScore, TokenScore};
use crate::error::Result;
use crate::kernel::device::is_ours;
use crate::samples::packing::Batch;

/// Rows of the head that are widened at once, and answer positions that are multiplied with them at once.
const VOCABULARY_CHUNK: usize = 4096;
const POSITION_CHUNK: usize = 2048;

/// The normalised hidden states from which a batch's answer tokens are predicted, of one stream.
pub struct AnswerRows(Tensor);

impl AdaptedModel<'_> {
    /// The tokens that have logits.
    pub fn head_size(&self) -> Result<usize> {
        let height = self.weight_height()?;
        Ok(self.head.rows.as_ref().map_or(height, |rows| rows.height(height)))
    }

    /// The rows of the head's weight.
    fn weight_height(&self) -> Result<usize> {
        match self.head.saved {
            Some(name) => self.adapter().weights.height(name),
            None => self.model().weights.head_size(),
        }
    }

    /// The rows of the head for a part of the vocabulary.
    pub fn head(&self, vocabulary: Range<usize>) -> Result<Linear> {
        let model = self.model();
        let read = |rows: Range<usize>| match self.head.saved {
            Some(name) => self.adapter().weights.load_rows(name, rows, model.device()),
            None => model.weights.head(rows),
        };
        let weight = match &self.head.rows {
            Some(rows) if rows.tokens.iter().any(|token| vocabulary.contains(token)) => {
                // Tokens beyond the weight have trained rows.
                let last = self.weight_height()?.clamp(1, vocabulary.end);
                rows.replace(vocabulary.clone(), &read(vocabulary.start.min(last - 1)..last)?)?
            }
            _ => read(vocabulary.clone())?,
        };
        let part = |tensor: &Tensor| tensor.narrow(0, vocabulary.start, vocabulary.len());
        let bias = self.head_bias.as_ref().map(part).transpose()?;
        let head = Linear::new(weight, bias, model.weights.backend.arithmetic)?;
        match &self.head.delta {
            Some(delta) => Ok(head.adapted(&delta.outputs(|b| part(b)?.contiguous())?)?),
            None => Ok(head),
        }
    }

    /// Applies the final norm to the answer rows of a stream's hidden states (rows, hidden) behind its first `layers`
    /// layers, usually all of them.
    pub fn answer_rows(&self, hidden: &Tensor, pass: &Pass, layers: usize) -> Result<AnswerRows> {
        let rows = hidden.index_select(pass.answers_behind(layers), 0)?;
        let rows = hidden_of(&rows, &self.model().config)?;
        let rows = match &self.altup {
            Some(maps) => maps.merged(&rows)?,
            None => rows,
        };
        Ok(AnswerRows(self.final_norm.forward(&rows)?))
    }

    /// The score of every answer token in every stream: `[stream][answer of the batch]`.
    pub fn score_answers(&self, streams: &[AnswerRows], batch: &Batch) -> Result<Vec<Vec<TokenScore>>> {
        let answers = batch.answers.iter().map(|answer| RunningScore::new(answer.token as usize));
        let mut scores: Vec<RunningScore> = streams.iter().flat_map(|_| answers.clone()).collect();
        let head = |vocabulary| self.head(vocabulary);
        self.for_each_chunk(&concatenated(streams)?, head, |chunk, logits| {
            let scores = &mut scores[chunk.positions];
            match is_ours(logits.device()) {
                true => score::add_on_cpu(scores, logits, &chunk.vocabulary),
                false => score::add_on_device(scores, logits, &chunk.vocabulary),
            }
        })?;
        let scores: Vec<TokenScore> = scores.iter().map(RunningScore::token_score).collect();
        Ok(scores.chunks(batch.answers.len()).map(<[TokenScore]>::to_vec).collect())
    }

    /// The likeliest token after each answer row of every stream, the first one among equals. The head's chunks come from
    /// `cache`, if there is one, once they were read.
    pub fn likeliest(&self, streams: &[AnswerRows], mut cache: Option<&mut HeadCache>) -> Result<Vec<Vec<u32>>> {
        let rows = concatenated(streams)?;
        let mut largest = vec![(f32::NEG_INFINITY, 0); rows.dim(0)?];
        let head = |vocabulary: Range<usize>| match &mut cache {
            Some(cache) => cache.read(self, vocabulary),
            None => self.head(vocabulary),
        };
        self.for_each_chunk(&rows, head, |chunk, logits| {
            let places = logits.argmax_keepdim(1)?;
            let highest = logits.gather(&places, 1)?.flatten_all()?.to_vec1::<f32>()?;
            let places = places.flatten_all()?.to_vec1::<u32>()?;
            for (largest, (logit, place)) in largest[chunk.positions].iter_mut().zip(highest.into_iter().zip(places)) {
                if logit > largest.0 {
                    *largest = (logit, chunk.vocabulary.start as u32 + place);
                }
            }
            Ok(())
        })?;
        let mut tokens = largest.into_iter().map(|(_, token)| token);
        streams.iter().map(|AnswerRows(rows)| Ok(tokens.by_ref().take(rows.dim(0)?).collect())).collect()
    }

    /// The gradient of the batch's loss, summed over its answer tokens, in nats, by a stream's hidden states (rows, hidden) behind all
    /// layers.
    pub fn loss_gradient(&self, hidden: &Tensor, pass: &Pass) -> Result<Tensor> {
        let hidden = Var::from_tensor(hidden)?;
        let AnswerRows(rows) = self.answer_rows(&hidden, pass, self.model().config.layers)?;
        let mut scores: Vec<RunningScore> =
            pass.batch.answers.iter().map(|answer| RunningScore::new(answer.token as usize)).collect();
        self.for_each_chunk(
            &rows.detach(),
            |vocabulary| self.head(vocabulary),
            |chunk, logits| score::add_on_cpu(&mut scores[chunk.positions], logits, &chunk.vocabulary),
        )?;
        let inputs = Var::from_tensor(&rows)?;
        let mut gradient = inputs.zeros_like()?;
        self.for_each_chunk(
            &inputs,
            |vocabulary| self.head(vocabulary),
            |chunk, logits| {
                let by_logits = score::gradient(&scores[chunk.positions], &logits.detach(), &chunk.vocabulary)?;
                let gradients = (logits * by_logits)?.sum_all()?.backward()?;
                if let Some(part) = gradients.get(&inputs) {
                    gradient = (&gradient + part)?;
                }
                Ok(())
            },
        )?;
        let gradients = (&rows * gradient)?.sum_all().and_then(|sum| sum.backward())?;
        Ok(gradients.get(&hidden).cloned().unwrap_or(hidden.zeros_like()?))
    }

    /// Shows the logits of normalised hidden states (rows, hidden) in chunks (positions, vocabulary).
    fn for_each_chunk(
        &self,
        rows: &Tensor,
        mut head: impl FnMut(Range<usize>) -> Result<Linear>,
        mut read: impl FnMut(Chunk, &Tensor) -> TensorResult<()>,
    ) -> Result<()> {
        let (config, size, count) = (&self.model().config, self.head_size()?, rows.dim(0)?);
        for first in (0..size).step_by(VOCABULARY_CHUNK) {
            let vocabulary = first..(first + VOCABULARY_CHUNK).min(size);
            let head = head(vocabulary.clone())?;
            for first in (0..count).step_by(POSITION_CHUNK) {
                let positions = first..(first + POSITION_CHUNK).min(count);
                let logits = head.forward(&rows.narrow(0, positions.start, positions.len())?)?;
                let logits = softcapped(scaled(logits, config.scales.logits)?, config.softcaps.logits)?;
                read(Chunk { positions, vocabulary: vocabulary.clone() }, &logits)?;
            }
        }
        Ok(())
    }
}

/// The place of a chunk of logits.
struct Chunk {
    positions: Range<usize>,
    vocabulary: Range<usize>,
}

fn concatenated(streams: &[AnswerRows]) -> TensorResult<Tensor> {
    Tensor::cat(&streams.iter().map(|AnswerRows(rows)| rows).collect::<Vec<_>>(), 0)
}

/// The chunks of a head that were read, for repeated use.
#[derive(Default)]
pub struct HeadCache(BTreeMap<usize, Linear>);

impl HeadCache {
    fn read(&mut self, adapted: &AdaptedModel, vocabulary: Range<usize>) -> Result<Linear> {
        if let Some(head) = self.0.get(&vocabulary.start) {
            return Ok(head.clone());
        }
        let head = adapted.head(vocabulary.clone())?;
        self.0.insert(vocabulary.start, head.clone());
        Ok(head)
    }
}
