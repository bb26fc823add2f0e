//! What rows carry through the layers behind their hidden states, because later layers read it again.
//!
//! A stream is one tensor, (rows, width): hidden states first, of which a token has several in some models, then the embeddings if layers have inputs of their own, then the keys
//! and values of each layer that others read again. So a stream forks, waits and has derivatives with all that belongs to it.

use candle_core::{Result, Tensor};

use super::ModelConfig;

/// The columns behind the hidden states of a stream.
pub struct Carried<'a> {
    config: &'a ModelConfig,
    /// (rows, columns); `None` without columns.
    columns: Option<Tensor>,
}

impl<'a> Carried<'a> {
    /// Divides the state of a stream into hidden states, (rows, hidden), and what they carry.
    pub fn split(state: &Tensor, config: &'a ModelConfig) -> Result<(Tensor, Self)> {
        let (_, width) = state.dims2()?;
        let hidden_size = config.states_size();
        if width == hidden_size {
            return Ok((state.clone(), Self { config, columns: None }));
        }
        let columns = state.narrow(1, hidden_size, width - hidden_size)?;
        Ok((state.narrow(1, 0, hidden_size)?.contiguous()?, Self { config, columns: Some(columns) }))
    }

    /// The state of a stream before the first layer, from its hidden states and its embeddings.
    pub fn first(hidden: Tensor, embeddings: &Tensor, config: &ModelConfig) -> Result<Tensor> {
        match config.per_layer {
            Some(_) => Tensor::cat(&[&hidden, embeddings], 1),
            None => Ok(hidden),
        }
    }

    /// The embeddings of the rows, (rows, hidden).
    pub fn embeddings(&self) -> Result<Tensor> {
        self.part(0, self.config.hidden_size)
    }

    /// The keys and values that layer `layer` has left, each (rows, kv_heads, head_dim).
    pub fn keys_of(&self, layer: usize) -> Result<(Tensor, Tensor)> {
        let sizes = self.config.by_layer.heads[layer];
        let start = self.config.carried_before(layer);
        let part = |start: usize| {
            self.part(start, sizes.kv_size())?.contiguous()?.reshape(((), sizes.kv_heads, sizes.head_dim))
        };
        Ok((part(start)?, part(start + sizes.kv_size())?))
    }

    /// Adds the keys and values of a layer that others read again.
    pub fn add(&mut self, k: &Tensor, v: &Tensor) -> Result<()> {
        let new = [k.flatten_from(1)?, v.flatten_from(1)?];
        self.columns = Some(Tensor::cat(&self.columns.iter().chain(&new).collect::<Vec<_>>(), 1)?);
        Ok(())
    }

    /// The state of a stream behind a layer, from its hidden states.
    pub fn join(self, hidden: Tensor) -> Result<Tensor> {
        match self.columns {
            Some(columns) => Tensor::cat(&[&hidden, &columns], 1),
            None => Ok(hidden),
        }
    }

    /// The columns behind the hidden states, if there are any.
    pub fn into_columns(self) -> Option<Tensor> {
        self.columns
    }

    fn part(&self, start: usize, size: usize) -> Result<Tensor> {
        match &self.columns {
            Some(columns) => columns.narrow(1, start, size),
            None => candle_core::bail!("rows that carry nothing"),
        }
    }
}

/// The hidden states of a stream, (rows, hidden), without what they carry.
pub fn hidden_of(state: &Tensor, config: &ModelConfig) -> Result<Tensor> {
    Ok(Carried::split(state, config)?.0)
}
