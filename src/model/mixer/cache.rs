//! What mixers keep of the tokens so far, so that a token that is added to a sequence goes through the layers alone.
//!
//! Attention keeps keys and values. Each sequence has a range of places for as many tokens as it may reach, and new keys and
//! values are written into it: appending them to a tensor would copy all of it for every token.

use std::collections::HashMap;

use candle_core::{Result as TensorResult, Tensor};

use crate::kernel::attention::Span;
use crate::kernel::recurrent::RecurrentState;

/// The cache of one stream, layer by layer.
pub struct Cache(Vec<LayerCache>);

impl Cache {
    /// An empty cache for `layers` layers and as many tokens as there are `places`.
    pub fn new(layers: usize, places: usize) -> Self {
        Self((0..layers).map(|_| LayerCache { places, filled: None, states: HashMap::new() }).collect())
    }

    pub fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.0[index]
    }
}

/// The cache of one stream in one layer.
pub struct LayerCache {
    places: usize,
    /// Rotated keys, and values, or what both are made of: (places, heads, size). Absent until there are any.
    filled: Option<(Tensor, Tensor)>,
    /// The states of sequences in a layer that keeps no keys, by the first place of each.
    pub states: HashMap<usize, RecurrentState>,
}

impl LayerCache {
    /// Adds the keys and values (rows, kv_heads, head_dim) of new rows, which are the last places of their sequences, and
    /// returns all: (places, kv_heads, head_dim).
    pub fn extended(&mut self, k: &Tensor, v: &Tensor, sequences: &[Span]) -> TensorResult<(Tensor, Tensor)> {
        let (k, v) = (k.contiguous()?, v.contiguous()?);
        let (keys, values) = match self.filled.take() {
            Some(filled) => filled,
            None => {
                let empty = |x: &Tensor| {
                    let (_, heads, size) = x.dims3()?;
                    Tensor::zeros((self.places, heads, size), x.dtype(), x.device())
                };
                (empty(&k)?, empty(&v)?)
            }
        };
        for Span { queries, keys: places, .. } in sequences {
            let place = places.end - queries.len();
            keys.slice_set(&k.narrow(0, queries.start, queries.len())?, 0, place)?;
            values.slice_set(&v.narrow(0, queries.start, queries.len())?, 0, place)?;
        }
        self.filled = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }
}
