//! Causal attention inside each sample.
//!
//! The rows of samples lie one after the other, behind a prefix that all of them begin with. They go through packed attention
//! (`kernel/attention.rs`), or, on GPUs and for derivatives, through matrix products (`scores.rs`).

use std::sync::Arc;

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::sigmoid;

use super::scores::{ScoreRules, alibi_slopes, attend_by_length, attend_each, attend_packed};
use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::attention::Projections;
use crate::kernel::gradient;
use crate::model::carried::Carried;
use crate::model::config::HeadSizes;
use crate::model::family::{FusedOrder, HeadNorms, MixerKind, Positions, Role};
use crate::model::linear::unit_mean_square;
use crate::model::modules::Modules;
use crate::model::scaling::scaled;
use crate::model::weights::LayerWeights;
use crate::model::{Pass, RopeTable};

/// The attention of one layer.
pub struct Attention<'a> {
    weights: LayerWeights<'a>,
    modules: Modules,
    sinks: Option<Tensor>,
}

impl<'a> Attention<'a> {
    pub fn load(weights: LayerWeights<'a>) -> Result<Self> {
        let modules = Modules::load(weights, |role| role.mixer() == Some(MixerKind::Attention))?;
        Ok(Self { weights, modules, sinks: weights.sinks()? })
    }

    /// Queries of the narrowed rows, (rows, heads · head_dim), and keys and values, (rows, kv_heads · head_dim), unless the layer reads
    /// those of another one.
    fn project(&self, x: &Tensor, pass: &Pass) -> TensorResult<(Tensor, Option<[Tensor; 2]>)> {
        let narrowed = |x: &Tensor| pass.narrowed(x, self.weights.index);
        if self.modules.has(Role::QueryKeyValue) {
            let [q, k, v] = self.split_heads(&self.modules.linear(Role::QueryKeyValue, x)?)?;
            return Ok((narrowed(&q)?, Some([k, v])));
        }
        let q = self.modules.linear(Role::Query, &narrowed(x)?)?;
        if !self.modules.has(Role::Key) {
            return Ok((q, None));
        }
        let k = self.modules.linear(Role::Key, x)?;
        let v = if self.modules.has(Role::Value) { self.modules.linear(Role::Value, x)? } else { k.clone() };
        Ok((q, Some([k, v])))
    }

    /// Queries, keys and values from the output of one matrix.
    fn split_heads(&self, fused: &Tensor) -> TensorResult<[Tensor; 3]> {
        let (config, index) = (self.weights.config, self.weights.index);
        let (query_size, kv_size) = (config.query_size(index), config.kv_size(index));
        let HeadSizes { kv_heads, head_dim } = self.sizes();
        match config.family.fused_order {
            FusedOrder::QueriesFirst => {
                let part = |start: usize, size: usize| fused.narrow(1, start, size)?.contiguous();
                Ok([part(0, query_size)?, part(query_size, kv_size)?, part(query_size + kv_size, kv_size)?])
            }
            FusedOrder::HeadByHead | FusedOrder::GroupByGroup => {
                let queries = config.heads / kv_heads;
                let by_group = fused.reshape(((), kv_heads, queries + 2, head_dim))?;
                let part = |start: usize, count: usize| {
                    by_group.narrow(2, start, count)?.reshape(((), kv_heads * count * head_dim))
                };
                Ok([part(0, queries)?, part(queries, 1)?, part(queries + 1, 1)?])
            }
            FusedOrder::FourParts => {
                let by_part = fused.reshape(((), 4, 3, query_size / 4))?;
                let part = |place: usize| by_part.narrow(2, place, 1)?.reshape(((), query_size));
                Ok([part(0)?, part(2)?, part(1)?])
            }
        }
    }

    fn sizes(&self) -> HeadSizes {
        self.weights.config.by_layer.heads[self.weights.index]
    }

    /// Normalised and rotated keys, and values, each (rows, kv_heads, head_dim): the layer's own, or those of the layer whose it reads.
    fn keys_and_values(
        &self,
        own: Option<[Tensor; 2]>,
        pass: &Pass,
        carried: &mut Carried,
    ) -> TensorResult<(Tensor, Tensor)> {
        let (config, index, sizes) = (self.weights.config, self.weights.index, self.sizes());
        let Some([k, v]) = own else {
            let layer = config.by_layer.keys_of[index].unwrap_or(index);
            return carried.keys_of(layer);
        };
        let by_head = |x: &Tensor| x.reshape(((), sizes.kv_heads, sizes.head_dim));
        let norms_rotated = config.family.head_norms == HeadNorms::EachRotatedHead;
        let k = if norms_rotated { k } else { self.modules.norm(Role::KeyNorm, &k)? };
        let k = self.rotated(by_head(&self.clipped(k)?)?, &pass.ropes)?;
        let k = self.rotated_normed(Role::KeyNorm, k)?;
        let v = by_head(&self.clipped(v)?)?;
        let v = if config.family.normed_values { unit_mean_square(&v, config.norm_eps)? } else { v };
        if config.by_layer.is_read_again(index) {
            carried.add(&k, &v)?;
        }
        Ok((k, v))
    }

    fn rotated(&self, x: Tensor, ropes: &[RopeTable]) -> TensorResult<Tensor> {
        let config = self.weights.config;
        match config.rotary.by_layer[self.weights.index] {
            Some(place) => rotate(&x, &ropes[place], config.family.positions),
            None => Ok(x),
        }
    }

    /// What gates the heads of the narrowed rows, from a matrix of its own, if the layer has one.
    fn gate(&self, x: &Tensor, pass: &Pass) -> TensorResult<Option<Tensor>> {
        let has_gate = self.modules.has(Role::AttentionGate);
        let gate = || self.modules.linear(Role::AttentionGate, &pass.narrowed(x, self.weights.index)?);
        has_gate.then(gate).transpose()
    }

    /// Queries, and what gates their heads, from the output of one matrix, which has them head by head.
    fn split_gate(&self, both: &Tensor) -> TensorResult<(Tensor, Option<Tensor>)> {
        let (config, size) = (self.weights.config, self.weights.config.query_size(self.weights.index));
        let by_head = both.reshape(((), config.heads, 2, self.sizes().head_dim))?;
        let part = |place: usize| by_head.narrow(2, place, 1)?.reshape(((), size));
        Ok((part(0)?, Some(part(1)?)))
    }

    /// Rotated queries or keys, (rows, heads, head_dim), normalised in models that do so after the rotary embedding.
    fn rotated_normed(&self, role: Role, x: Tensor) -> TensorResult<Tensor> {
        let config = self.weights.config;
        match config.family.head_norms {
            HeadNorms::EachRotatedHead => self.modules.norm(role, &x),
            HeadNorms::RotatedWithoutWeights
                if config.has_head_norms == Some(true) && config.rotary.rotates(self.weights.index) =>
            {
                unit_mean_square(&x, config.norm_eps)
            }
            _ => Ok(x),
        }
    }

    /// Queries, keys or values cut off on both sides of 0, in models that do so.
    fn clipped(&self, x: Tensor) -> TensorResult<Tensor> {
        match self.weights.config.clip {
            Some(limit) => x.clamp(-limit, limit),
            None => Ok(x),
        }
    }

    fn rules(&self, device: &Device) -> TensorResult<ScoreRules<'_>> {
        let config = self.weights.config;
        Ok(ScoreRules {
            scale: config.scales.attention,
            softcap: config.softcaps.attention,
            window: config.windows[self.weights.index],
            chunk: config.chunks[self.weights.index],
            slopes: match config.family.positions {
                Positions::Alibi => Some(Tensor::new(alibi_slopes(config.heads), device)?),
                _ => None,
            },
            sinks: self.sinks.as_ref(),
            prompt: config.prompt,
        })
    }
}

impl<'a> Mixer<'a> for Attention<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let modules = self.modules.adapted(adapter, self.weights)?;
        Ok(Arc::new(Self { weights: self.weights, modules, sinks: self.sinks.clone() }))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        carried: &mut Carried,
    ) -> TensorResult<Tensor> {
        let (config, index) = (self.weights.config, self.weights.index);
        let x = scaled(x.clone(), config.scales.attention_input)?;
        let (q, own) = self.project(&x, pass)?;
        let (q, gate) = if config.family.gated_attention { self.split_gate(&q)? } else { (q, self.gate(&x, pass)?) };
        let norms_rotated = config.family.head_norms == HeadNorms::EachRotatedHead;
        let narrowing = pass.narrowing_at(index);
        let ropes = narrowing.map_or(&pass.ropes, |narrowing| &narrowing.ropes);
        let q = if norms_rotated { q } else { self.modules.norm(Role::QueryNorm, &q)? };
        let q = self.clipped(q)?;
        let q = self.rotated(q.reshape(((), config.heads, self.sizes().head_dim))?, ropes)?;
        let q = match config.rotary.by_layer[index].and_then(|place| ropes[place].query_scales.as_ref()) {
            Some(scales) => q.broadcast_mul(scales)?,
            None => q,
        };
        let q = self.rotated_normed(Role::QueryNorm, q)?;
        let (k, v) = self.keys_and_values(own, pass, carried)?;
        let (k, v) = match cache.zip(pass.cached.as_ref()) {
            Some((cache, sequences)) => cache.extended(&k, &v, sequences)?,
            None => (k, v),
        };

        let (inputs, rules) = (Projections { q: &q, k: &k, v: &v }, self.rules(q.device())?);
        let packed = narrowing.map(|narrowing| &narrowing.packed).or(pass.packed.as_ref());
        let attended = match (packed, &pass.cached) {
            (Some(packed), _) => attend_packed(inputs, packed, &rules)?,
            (None, Some(sequences)) => attend_each(inputs, sequences, &rules)?,
            (None, None) => attend_by_length(inputs, pass.batch, &rules)?,
        };
        let attended = attended.reshape(((), config.query_size(index)))?;
        let attended = match gate {
            Some(gate) => (attended * sigmoid(&gate)?)?,
            None => attended,
        };
        scaled(self.modules.linear(Role::AttentionOut, &attended)?, config.scales.attention_output)
    }
}

/// Rotary embedding of x (tokens, heads, head_dim). Neighbours that rotate together are first brought to the two halves,
/// where they stay: the product of a query and a key does not depend on the order of their values.
pub(super) fn rotate(x: &Tensor, rope: &RopeTable, positions: Positions) -> TensorResult<Tensor> {
    let (tokens, heads, head_dim) = x.dims3()?;
    let dim = 2 * rope.cos.dim(1)?;
    let mut rotating = x.narrow(2, 0, dim)?;
    if positions == Positions::RotaryNeighbours {
        rotating = rotating.reshape((tokens, heads, dim / 2, 2))?.transpose(2, 3)?.reshape((tokens, heads, dim))?;
    }
    let sines = if positions == Positions::RotaryBackwards { rope.sin.neg()? } else { rope.sin.clone() };
    let rotated = gradient::rope(&rotating.contiguous()?.unsqueeze(0)?, &rope.cos, &sines)?.squeeze(0)?;
    if dim == head_dim { Ok(rotated) } else { Tensor::cat(&[rotated, x.narrow(2, dim, head_dim - dim)?], 2) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family::PromptAttention;
    use crate::model::pass;
    use crate::samples::{Sample, packing};

    #[test]
    fn packed_attention_is_that_of_each_length() -> Result<()> {
        // Some are longer than a block of keys.
        let samples = [3, 9, 9, 4, 14, 290, 541].map(|length| {
            // The first two tokens are no answers, so that the first one can be shared; some samples have longer prompts.
            let scored = (0..length).map(|place| place > 1 + length / 9).collect();
            Sample { ids: vec![0; length], scored, ends: Vec::new(), line: 1, record: 0, slice: 0 }
        });
        for (shares, prefix) in [(false, 0), (true, 1)] {
            let batch = &packing::plan(&samples, 2000, shares)[0];
            assert_eq!(batch.prefix, prefix);
            let random = |heads| Tensor::randn(0f32, 1.0, (batch.tokens(), heads, 40), &Device::Cpu);
            let (q, k, v) = (random(6)?, random(2)?, random(2)?);
            let inputs = Projections { q: &q, k: &k, v: &v };
            let parts =
                [(None, None), (Some(1), None), (Some(5), None), (Some(270), None), (None, Some(7)), (None, Some(258))];
            let slopes = Some(Tensor::new(alibi_slopes(6), &Device::Cpu)?);
            let sinks = Tensor::randn(0f32, 2.0, 6, &Device::Cpu)?;
            let adjusted = [(None, None, None), (Some(1.5), None, None), (None, slopes.clone(), None)];
            let adjusted = adjusted.into_iter().chain([(None, None, Some(&sinks)), (Some(30.0), slopes, Some(&sinks))]);
            for ((window, chunk), (softcap, slopes, sinks)) in
                adjusted.flat_map(|adjusted| parts.map(|part| (part, adjusted.clone())))
            {
                for prompt in [PromptAttention::Causal, PromptAttention::BothWays] {
                    // A prompt that is attended to both ways has no prefix of its own.
                    if prefix > 0 && prompt == PromptAttention::BothWays {
                        continue;
                    }
                    let packed = pass::all_rows(batch, prompt);
                    let slopes = slopes.clone();
                    let rules = ScoreRules { scale: 0.3, softcap, window, chunk, slopes, sinks, prompt };
                    let attended = attend_packed(inputs, &packed, &rules)?;
                    let difference = (attended - attend_by_length(inputs, batch, &rules)?)?.abs()?.max_all()?;
                    // Products round scores that have grown with the position, up to 270.
                    let most = if rules.slopes.is_some() { 5e-5 } else { 1e-5 };
                    assert!(difference.to_scalar::<f32>()? < most, "{rules:?}, {difference}");
                }
            }
        }
        Ok(())
    }
}
