//! Latent attention, as in DeepSeek V2 and V3: keys and values of all heads come from one short vector for each token. A part of each
//! head is rotated, and that part of the keys is the same in all heads.
//!
//! A cache keeps the short vectors, and keys and values are made of them anew.

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::attention::rotate;
use super::scores::{ScoreRules, attend_by_length, attend_each, attend_packed};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::attention::{Projections, Span};
use crate::model::carried::Carried;
use crate::model::config::LatentSizes;
use crate::model::family::{Positions, Role};
use crate::model::modules::Modules;
use crate::model::weights::LayerWeights;
use crate::model::{Pass, RopeTable};

/// The latent attention of one layer.
pub struct LatentAttention<'a> {
    weights: LayerWeights<'a>,
    modules: Modules,
    sizes: LatentSizes,
}

/// What keys and values are made of.
struct Latents {
    /// (tokens, 1, rank)
    short: Tensor,
    /// (tokens, 1, rotated)
    rotated: Tensor,
}

impl<'a> LatentAttention<'a> {
    pub fn load(weights: LayerWeights<'a>, sizes: LatentSizes) -> Result<Self> {
        Ok(Self { weights, modules: Modules::load(weights, Role::is_of_mixer)?, sizes })
    }

    /// (rows, heads, padded)
    fn queries(&self, x: &Tensor, ropes: &[RopeTable]) -> TensorResult<Tensor> {
        let LatentSizes { heads, plain, rotated, .. } = self.sizes;
        let queries = if self.modules.has(Role::LatentQuery) {
            self.modules.linear(Role::LatentQuery, x)?
        } else {
            let short = self.modules.linear(Role::LatentQueryDown, x)?;
            self.modules.linear(Role::LatentQueryUp, &self.modules.norm(Role::LatentQueryNorm, &short)?)?
        };
        let queries = queries.reshape(((), heads, plain + rotated))?;
        let turned = self.rotated(&queries.narrow(2, plain, rotated)?, ropes)?;
        self.padded(&Tensor::cat(&[queries.narrow(2, 0, plain)?, turned], 2)?)
    }

    fn latents(&self, x: &Tensor, ropes: &[RopeTable]) -> TensorResult<Latents> {
        let LatentSizes { rank, rotated, .. } = self.sizes;
        let both = self.modules.linear(Role::LatentDown, x)?;
        let short = self.modules.norm(Role::LatentNorm, &both.narrow(1, 0, rank)?.contiguous()?)?;
        let keys = both.narrow(1, rank, rotated)?.contiguous()?.unsqueeze(1)?;
        Ok(Latents { short: short.unsqueeze(1)?, rotated: self.rotated(&keys, ropes)? })
    }

    /// Keys and values, (tokens, heads, padded).
    fn keys_and_values(&self, latents: &Latents) -> TensorResult<(Tensor, Tensor)> {
        let LatentSizes { heads, plain, rotated, value, .. } = self.sizes;
        let tokens = latents.short.dim(0)?;
        let both = self.modules.linear(Role::LatentUp, &latents.short.squeeze(1)?.contiguous()?)?;
        let both = both.reshape((tokens, heads, plain + value))?;
        let shared = latents.rotated.broadcast_as((tokens, heads, rotated))?.contiguous()?;
        let keys = Tensor::cat(&[both.narrow(2, 0, plain)?, shared], 2)?;
        Ok((self.padded(&keys)?, self.padded(&both.narrow(2, plain, value)?)?))
    }

    fn rotated(&self, x: &Tensor, ropes: &[RopeTable]) -> TensorResult<Tensor> {
        let positions = if self.sizes.is_interleaved { Positions::RotaryNeighbours } else { Positions::Rotary };
        match self.weights.config.rotary.by_layer[self.weights.index] {
            Some(place) => rotate(x, &ropes[place], positions),
            None => Ok(x.clone()),
        }
    }

    /// Zeros behind the values of each head: products do not see them.
    fn padded(&self, x: &Tensor) -> TensorResult<Tensor> {
        x.pad_with_zeros(2, 0, self.sizes.padded() - x.dim(2)?)?.contiguous()
    }

    fn rules(&self) -> ScoreRules<'_> {
        let config = self.weights.config;
        ScoreRules {
            scale: config.scales.attention,
            softcap: None,
            window: config.windows[self.weights.index],
            chunk: config.chunks[self.weights.index],
            slopes: None,
            sinks: None,
            prompt: config.prompt,
        }
    }
}

impl<'a> Mixer<'a> for LatentAttention<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        Ok(Arc::new(Self { weights: self.weights, modules, sizes: self.sizes }))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        _: &mut Carried,
    ) -> TensorResult<Tensor> {
        let narrowing = pass.narrowing_at(self.weights.index);
        let ropes = narrowing.map_or(&pass.ropes, |narrowing| &narrowing.ropes);
        let q = self.queries(&pass.narrowed(x, self.weights.index)?, ropes)?;
        let latents = self.latents(x, &pass.ropes)?;
        let (latents, cached) = match cache.zip(pass.cached.as_ref()) {
            Some((cache, sequences)) => {
                let (short, rotated) = cache.extended(&latents.short, &latents.rotated, sequences)?;
                let (latents, sequences) = seen(&Latents { short, rotated }, sequences)?;
                (latents, Some(sequences))
            }
            None => (latents, None),
        };
        let (k, v) = self.keys_and_values(&latents)?;

        let (inputs, rules) = (Projections { q: &q, k: &k, v: &v }, self.rules());
        let packed = narrowing.map(|narrowing| &narrowing.packed).or(pass.packed.as_ref());
        let attended = match (packed, &cached) {
            (Some(packed), _) => {
                let sequences = cached.as_ref().unwrap_or(packed);
                attend_packed(inputs, sequences, &rules)?
            }
            (None, Some(sequences)) => attend_each(inputs, sequences, &rules)?,
            (None, None) => attend_by_length(inputs, pass.batch, &rules)?,
        };
        let LatentSizes { heads, value, .. } = self.sizes;
        let attended = attended.narrow(2, 0, value)?.contiguous()?.reshape(((), heads * value))?;
        self.modules.linear(Role::LatentOut, &attended)
    }
}

/// The places of a cache that its sequences fill, one sequence after the other: nothing is made of the others.
fn seen(cached: &Latents, sequences: &[Span]) -> TensorResult<(Latents, Vec<Span>)> {
    let places = sequences.iter().flat_map(|sequence| sequence.keys.clone()).map(|place| place as u32);
    let places = Tensor::from_iter(places, cached.short.device())?;
    let mut before = 0;
    let moved = |sequence: &Span| {
        before += sequence.keys.len();
        Span { keys: before - sequence.keys.len()..before, ..sequence.clone() }
    };
    let sequences = sequences.iter().map(moved).collect();
    let select = |x: &Tensor| x.index_select(&places, 0);
    Ok((Latents { short: select(&cached.short)?, rotated: select(&cached.rotated)? }, sequences))
}
