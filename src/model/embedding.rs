//! From tokens to the hidden states before the first layer.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::adapted::AdaptedModel;
use super::carried::Carried;
use super::family::Positions;
use super::scaling::scaled;
use crate::adapter::Delta;
use crate::error::Result;
use crate::samples::packing::Batch;

impl AdaptedModel<'_> {
    /// The tokens that have an embedding.
    pub fn vocab_size(&self) -> Result<usize> {
        match (self.embedding.saved, &self.embedding.rows) {
            (Some(name), _) => self.adapter().weights.height(name),
            (None, Some(rows)) => Ok(rows.height(self.model().config.vocab_size)),
            (None, None) => Ok(self.model().config.vocab_size),
        }
    }

    /// The embeddings of `ids`, not yet scaled: (ids, hidden).
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let read = |ids: &[u32]| match self.embedding.saved {
            Some(name) => self.adapter().weights.rows_of(name, ids, self.model().device()),
            None => self.model().weights.embed(ids),
        };
        let mut embedded = match &self.embedding.rows {
            Some(rows) => {
                let known = self.model().config.vocab_size as u32;
                // Tokens beyond the weight have trained rows.
                let within: Vec<u32> = ids.iter().map(|&id| if id < known { id } else { 0 }).collect();
                rows.replace(ids.iter().map(|&id| id as usize), &read(&within)?)?
            }
            None => read(ids)?,
        };
        if let Some(delta) = &self.embedding.delta {
            embedded = (embedded + delta.of_inputs(ids)?)?;
        }
        match &self.embedding.factor {
            Some(factor) => Ok(embedded.broadcast_mul(factor)?),
            None => Ok(embedded),
        }
    }

    /// The hidden states before the first layer, with what they carry: (tokens of the batch, hidden or more).
    pub fn first_hidden(&self, batch: &Batch) -> Result<Tensor> {
        let model = self.model();
        let mut hidden = scaled(self.embed(&batch.ids)?, model.config.scales.embedding)?;
        let first = model.config.family.first_position;
        let positions: Vec<u32> =
            batch.positions().flat_map(|(range, _)| range).map(|place| (first + place) as u32).collect();
        if let Some(embedded) = model.weights.embed_positions(&positions)? {
            hidden = (hidden + embedded)?;
        }
        if model.config.family.positions == Positions::Sines {
            hidden = (hidden + sines(&positions, model.config.hidden_size, model.device())?)?;
        }
        if let Some(norm) = &self.embedding_norm {
            hidden = norm.forward(&hidden)?;
        }
        let states = match &self.altup {
            Some(maps) => maps.spread(&hidden)?,
            None => hidden.clone(),
        };
        Ok(Carried::first(states, &hidden, &model.config)?)
    }

    /// DoRA on an embedding (PEFT's `DoraEmbeddingLayer`): the magnitude over the norm of each column of W + ΔW, which
    /// spans the whole vocabulary.
    pub(super) fn embedding_factor(&self) -> Result<Option<Tensor>> {
        const CHUNK: usize = 4096;
        let magnitude = self.embedding.delta.as_ref().and_then(Delta::magnitude);
        let Some(magnitude) = magnitude else { return Ok(None) };
        let tokens: Vec<u32> = (0..self.vocab_size()? as u32).collect();
        let mut squares = magnitude.zeros_like()?;
        for tokens in tokens.chunks(CHUNK) {
            squares = (squares + self.embed(tokens)?.sqr()?.sum(0)?)?;
        }
        Ok(Some((magnitude / squares.sqrt()?)?))
    }
}

/// The sines of positions by falling frequencies, then their cosines: (positions, size). All of it is in f32, as in transformers.
fn sines(positions: &[u32], size: usize, device: &Device) -> TensorResult<Tensor> {
    let half = size / 2;
    let step = (10_000f64.ln() / (half as f64 - 1.0)) as f32;
    let mut values = Vec::with_capacity(positions.len() * size);
    for &position in positions {
        let angle = |place: usize| position as f32 * (place as f32 * -step).exp();
        values.extend((0..half).map(|place| angle(place).sin()));
        values.extend((0..half).map(|place| angle(place).cos()));
        values.extend(std::iter::repeat_n(0f32, size % 2));
    }
    Tensor::from_vec(values, (positions.len(), size), device)
}
