//! Keys and values of the tokens so far, so that a token that is added to a sequence goes through the layers alone.
//!
//! Each sequence has a range of places for as many tokens as it may come to. New keys and values are written into it: adding
//! them to the end of a tensor would copy all that is there, for every token.

use candle_core::{Result as TensorResult, Tensor};

use crate::kernel::attention::Sequence;

/// What one stream keeps, layer by layer.
pub struct Cache(Vec<LayerCache>);

impl Cache {
    /// An empty cache for `layers` layers and as many tokens as there are `places`.
    pub fn new(layers: usize, places: usize) -> Self {
        Self((0..layers).map(|_| LayerCache { places, kept: None }).collect())
    }

    pub fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.0[index]
    }
}

/// What one stream keeps of one layer.
pub struct LayerCache {
    places: usize,
    /// Keys, as they were turned, and values: (places, kv_heads, head_dim). Absent until there are any.
    kept: Option<(Tensor, Tensor)>,
}

impl LayerCache {
    /// Takes in the keys and values (rows, kv_heads, head_dim) of new rows, which are the last places of their sequences,
    /// and gives all: (places, kv_heads, head_dim).
    pub fn extended(&mut self, k: &Tensor, v: &Tensor, sequences: &[Sequence]) -> TensorResult<(Tensor, Tensor)> {
        let (k, v) = (k.contiguous()?, v.contiguous()?);
        let (keys, values) = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let (_, heads, size) = k.dims3()?;
                let empty = || Tensor::zeros((self.places, heads, size), k.dtype(), k.device());
                (empty()?, empty()?)
            }
        };
        for Sequence { queries, keys: places, .. } in sequences {
            let place = places.end - queries.len();
            keys.slice_set(&k.narrow(0, queries.start, queries.len())?, 0, place)?;
            values.slice_set(&v.narrow(0, queries.start, queries.len())?, 0, place)?;
        }
        self.kept = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }
}
