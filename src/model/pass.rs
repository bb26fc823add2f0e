//! What all layers and streams of one pass share: which rows attend to which, and their positions.

use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor};

use super::Model;
use super::family::PromptAttention;
use super::rope::RopeTable;
use crate::error::Result;
use crate::kernel::attention::Span;
use crate::kernel::device::is_ours;
use crate::samples::packing::Batch;

/// A batch on its way through the layers.
pub struct Pass<'a> {
    pub batch: &'a Batch,
    /// The rotary tables of the batch's rows, one for each of the model's rotary embeddings.
    pub ropes: Vec<RopeTable>,
    /// The sequences, if they go through packed attention.
    pub packed: Option<Vec<Span>>,
    /// The places of the keys and values in each layer's cache, if the sequences grow.
    pub cached: Option<Vec<Span>>,
    /// The inputs of all layers that the batch's tokens have, (rows, layers · size), in models that have them.
    pub per_layer: Option<Tensor>,
    /// Set if the last layer that computes anything returns only the rows from which answers are predicted.
    narrowing: Option<Narrowing>,
    /// The rows from which the answers are predicted, answer by answer, while all rows are there.
    answers: Tensor,
}

/// The queries of the last layer.
pub struct Narrowing {
    layer: usize,
    /// The rows of the batch that are queries.
    pub rows: Tensor,
    /// Their rotary tables.
    pub ropes: Vec<RopeTable>,
    pub packed: Vec<Span>,
    /// The rows from which the answers are predicted, once only these are there.
    answers: Tensor,
}

impl<'a> Pass<'a> {
    pub fn new(model: &Model, batch: &'a Batch) -> Result<Self> {
        let ropes = model.rope_tables(batch)?;
        let is_packed = is_ours(model.device());
        let attention = model.config.prompt;
        let last = (0..model.config.layers).rev().find(|layer| !model.config.skipped.contains(layer));
        let narrowing = match last {
            Some(layer) if is_packed => {
                let rows = Tensor::from_iter(batch.answered_rows().map(|row| row as u32), model.device())?;
                let ropes = ropes.iter().map(|rope| rope.rows(&rows)).collect::<TensorResult<_>>()?;
                let answers = Tensor::from_iter(answer_places(batch, true), model.device())?;
                Some(Narrowing { layer, rows, ropes, packed: answered_rows(batch, attention), answers })
            }
            _ => None,
        };
        let answers = Tensor::from_iter(answer_places(batch, false), model.device())?;
        let packed = is_packed.then(|| all_rows(batch, attention));
        let per_layer = model.per_layer_inputs(batch)?;
        Ok(Self { batch, ropes, packed, cached: None, per_layer, narrowing, answers })
    }

    /// A pass whose operations have derivatives, which packed attention has not; all rows go through all layers.
    pub fn differentiable(model: &Model, batch: &'a Batch) -> Result<Self> {
        let answers = Tensor::from_iter(answer_places(batch, false), model.device())?;
        let (ropes, per_layer) = (model.rope_tables(batch)?, model.per_layer_inputs(batch)?);
        Ok(Self { batch, ropes, packed: None, cached: None, per_layer, narrowing: None, answers })
    }

    /// A pass of sequences that grow ([`Batch::growing`]). `places` are those of each sequence's tokens in the caches, its
    /// new rows being the last. The token after each sequence is to be predicted.
    pub fn through_caches(model: &Model, batch: &'a Batch, places: Vec<Range<usize>>) -> Result<Self> {
        let ropes = model.rope_tables(batch)?;
        let is_packed = is_ours(model.device());
        let sequences = batch.sequences.iter().zip(places);
        let cached: Vec<Span> = sequences
            .map(|(own, keys)| {
                let prompt = model.config.prompt.both_ways(own.prompt);
                Span { queries: own.rows.clone(), keys, prefix: 0..0, prompt }
            })
            .collect();
        let answers = Tensor::from_iter(batch.answered_rows().map(|row| row as u32), model.device())?;
        let packed = is_packed.then(|| cached.clone());
        let per_layer = model.per_layer_inputs(batch)?;
        Ok(Self { batch, ropes, packed, cached: Some(cached), per_layer, narrowing: None, answers })
    }

    /// What remains of the batch after layer `layer`, if that is the narrowing one.
    pub fn narrowing_at(&self, layer: usize) -> Option<&Narrowing> {
        self.narrowing.as_ref().filter(|narrowing| narrowing.layer == layer)
    }

    /// Those rows of x that remain behind layer `layer`: all of them, unless it is the narrowing one.
    pub fn narrowed(&self, x: &Tensor, layer: usize) -> TensorResult<Tensor> {
        match self.narrowing_at(layer) {
            Some(narrowing) => x.index_select(&narrowing.rows, 0),
            None => Ok(x.clone()),
        }
    }

    /// The rows of the hidden states behind the first `layers` layers from which the answers are predicted, answer by
    /// answer.
    pub fn answers_behind(&self, layers: usize) -> &Tensor {
        match &self.narrowing {
            Some(narrowing) if narrowing.layer < layers => &narrowing.answers,
            _ => &self.answers,
        }
    }
}

/// The sequences of a batch with every row a query: the prefix first, then the samples behind it.
pub fn all_rows(batch: &Batch, attention: PromptAttention) -> Vec<Span> {
    let prefix = Span { queries: 0..batch.prefix, keys: 0..batch.prefix, prefix: 0..0, prompt: 0 };
    let own = batch.sequences.iter().map(|sequence| Span {
        queries: sequence.rows.clone(),
        keys: sequence.rows.clone(),
        prefix: 0..batch.prefix,
        prompt: attention.both_ways(sequence.prompt),
    });
    std::iter::once(prefix).filter(|prefix| !prefix.keys.is_empty()).chain(own).collect()
}

/// The sequences with only the rows that answers are predicted from as queries, which follow one another.
fn answered_rows(batch: &Batch, attention: PromptAttention) -> Vec<Span> {
    let mut before = 0;
    let queries = |answered: usize| {
        before += answered;
        before - answered..before
    };
    let answered = batch.sequences.iter().map(|sequence| sequence.answered).map(queries).collect::<Vec<_>>();
    let sequences = batch.sequences.iter().zip(answered);
    sequences
        .map(|(own, queries)| {
            let prompt = attention.both_ways(own.prompt);
            Span { queries, keys: own.rows.clone(), prefix: 0..batch.prefix, prompt }
        })
        .collect()
}

/// The rows of hidden states that the answers are predicted from.
fn answer_places(batch: &Batch, is_narrowed: bool) -> Vec<u32> {
    let mut before = 0;
    let mut rows = Vec::with_capacity(batch.answers.len());
    for ((_, answers), sequence) in batch.samples.iter().zip(&batch.sequences) {
        let first = sequence.rows.end - sequence.answered;
        for answer in &batch.answers[answers.clone()] {
            let row = if is_narrowed { before + answer.position - first } else { answer.position };
            rows.push(row as u32);
        }
        before += sequence.answered;
    }
    rows
}
