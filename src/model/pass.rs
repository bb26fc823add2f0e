//! What stays the same for all layers and streams of one pass: which rows attend to which, and their positions.

use std::ops::Range;

use candle_core::{Device, Result as TensorResult, Tensor};

use super::rope::RopeTable;
use super::{Model, attention};
use crate::error::Result;
use crate::samples::batch::Batch;

/// A batch on its way through the layers.
pub struct Pass<'a> {
    pub batch: &'a Batch,
    /// The rotary tables of the batch's rows, one for each of the model's rotary embeddings.
    pub ropes: Vec<RopeTable>,
    /// Where attention takes all sequences at once: how.
    pub packed: Option<Packed>,
    /// The last layer that computes anything, if that gives the rows only from which answers are predicted.
    pub narrowing: Option<Narrowing>,
    /// The rows of the last hidden states from which the answers are predicted, answer by answer.
    pub answers: Tensor,
}

/// The keys of packed sequences. The first sequence is the prefix, which all others have before their own.
pub struct Packed {
    /// The rows of the batch that are the keys, sequence by sequence; absent where they are all rows in their order.
    pub keys: Option<Tensor>,
    pub queries_each: Tensor,
    pub keys_each: Tensor,
}

/// The queries of the last layer.
pub struct Narrowing {
    pub layer: usize,
    /// The rows of the batch that are queries.
    pub rows: Tensor,
    /// Their rotary tables.
    pub ropes: Vec<RopeTable>,
    pub packed: Packed,
}

impl<'a> Pass<'a> {
    pub fn new(model: &Model, batch: &'a Batch) -> Result<Self> {
        let ropes = model.rope_tables(batch)?;
        let packs = attention::packs(&model.config, batch, &model.device);
        let packed = if packs { Some(Packed::of_lengths(batch, &model.device)?) } else { None };
        let last = (0..model.config.layers).rev().find(|layer| !model.config.skipped.contains(layer));
        let narrowing = match last {
            Some(layer) if packs => {
                let rows = Tensor::from_iter(batch.answered_rows().map(|row| row as u32), &model.device)?;
                let answered = batch.sequences.iter().map(|sequence| sequence.answered).collect();
                let packed = Packed::new(batch, 0, answered, &model.device)?;
                let ropes = ropes.iter().map(|rope| rope.rows(&rows)).collect::<TensorResult<_>>()?;
                Some(Narrowing { layer, rows, ropes, packed })
            }
            _ => None,
        };
        let places = answer_rows(batch, narrowing.is_some());
        let answers = Tensor::from_iter(places, &model.device)?;
        Ok(Self { batch, ropes, packed, narrowing, answers })
    }

    /// What is left of the batch after layer `layer`, if that is the narrowing one.
    pub fn narrowing_at(&self, layer: usize) -> Option<&Narrowing> {
        self.narrowing.as_ref().filter(|narrowing| narrowing.layer == layer)
    }
}

impl Packed {
    /// Every row is a query.
    pub fn of_lengths(batch: &Batch, device: &Device) -> TensorResult<Self> {
        let lengths = batch.sequences.iter().map(|sequence| sequence.rows.len()).collect();
        Self::new(batch, batch.prefix, lengths, device)
    }

    /// Sequences with so many queries each, the last rows of theirs, behind a prefix of so many.
    fn new(batch: &Batch, prefix_queries: usize, queries: Vec<usize>, device: &Device) -> TensorResult<Self> {
        let has_prefix = prefix_queries > 0;
        let own: Vec<Range<usize>> = batch.sequences.iter().map(|sequence| sequence.rows.clone()).collect();
        let keys = || {
            let prefix = if has_prefix { 0..batch.prefix } else { 0..0 };
            prefix.chain(own.iter().flat_map(|rows| (0..batch.prefix).chain(rows.clone())))
        };
        let first = has_prefix.then_some(batch.prefix);
        let lengths = |lengths: &mut dyn Iterator<Item = usize>| {
            Tensor::from_iter(first.into_iter().chain(lengths).map(|length| length as u32), device)
        };
        let index = Tensor::from_iter(keys().map(|row| row as u32), device);
        Ok(Self {
            keys: if batch.prefix > 0 { Some(index?) } else { None },
            queries_each: lengths(&mut queries.into_iter())?,
            keys_each: lengths(&mut own.iter().map(|rows| batch.prefix + rows.len()))?,
        })
    }
}

/// The rows of the last hidden states that the answers are predicted from.
fn answer_rows(batch: &Batch, is_narrowed: bool) -> Vec<u32> {
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
