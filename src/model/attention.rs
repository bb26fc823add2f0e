//! Causal attention inside each sample.
//!
//! The rows of samples lie one after the other, those of one length together (a [`Group`]), behind a prefix that all of
//! them begin with. Short samples, the usual case, go through packed attention (`kernel/attention.rs`); for long ones each group goes as one batch of equal sequences through matrix products, which do more per
//! byte.

use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope_thd;

use super::cache::LayerCache;
use super::family::{Positions, Role};
use super::layer::softcapped;
use super::{ModelConfig, Pass, RopeTable};
use crate::kernel::{self, attention::Sequence};
use crate::samples::packing::{Batch, LengthGroup};

/// The longest sequence for which packed attention is the faster one.
const LONGEST_PACKED: usize = 512;

/// The most scores (queries × keys over all heads and sequences of a block) that are held at once.
const BLOCK_SCORES: usize = 1 << 24;

/// How scores become weights in a layer.
struct Scores<'a> {
    scale: f64,
    softcap: Option<f64>,
    /// How many positions back a query sees, itself included.
    window: Option<usize>,
    /// ALiBi: by how much each head's scores grow with the key's position, (heads).
    slopes: Option<Tensor>,
    /// One more score per head that no value belongs to, (heads).
    sinks: Option<&'a Tensor>,
}

/// Whether a batch goes through packed attention: on a processor, with samples that are short enough, where scores are
/// only scaled and masked.
pub fn packs(config: &ModelConfig, batch: &Batch, device: &Device) -> bool {
    let has_sinks = config.family.roles().any(|role| role == Role::Sinks);
    let is_plain = config.softcaps.attention.is_none() && config.family.positions != Positions::Alibi && !has_sinks;
    device.is_cpu() && is_plain && batch.longest() <= LONGEST_PACKED
}

/// The attention of layer `index` over queries, keys and values of (rows, heads · head_dim); the result is shaped as
/// the queries, which are fewer in the layer that narrows. `sinks` are those of the layer, (heads); `cache` is what the
/// layer keeps of sequences that grow.
pub fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    sinks: Option<&Tensor>,
    (pass, cache): (&Pass, Option<&mut LayerCache>),
    config: &ModelConfig,
    index: usize,
) -> Result<Tensor> {
    let narrowing = pass.narrowing_at(index);
    let by_head = |x: &Tensor, heads: usize| x.reshape(((), heads, config.head_dim));
    let turn = |x: Tensor, ropes: &[RopeTable]| match config.layer_ropes[index] {
        Some(place) => turn(&x, &ropes[place], config.family.positions),
        None => Ok(x),
    };
    let asking = narrowing.map_or(&pass.ropes, |narrowing| &narrowing.ropes);
    let q = turn(by_head(q, config.heads)?, asking)?;
    let k = turn(by_head(k, config.kv_heads)?, &pass.ropes)?;
    let v = by_head(v, config.kv_heads)?;
    let scores = Scores {
        scale: config.scales.attention,
        softcap: config.softcaps.attention,
        window: config.windows[index],
        slopes: match config.family.positions {
            Positions::Alibi => Some(Tensor::new(alibi_slopes(config.heads), q.device())?),
            _ => None,
        },
        sinks,
    };
    let (k, v) = match cache.zip(pass.cached.as_ref()) {
        Some((cache, sequences)) => cache.extended(&k, &v, sequences)?,
        None => (k, v),
    };
    let packed = narrowing.map(|narrowing| &narrowing.packed).or(pass.packed.as_ref());
    let attended = match (packed, &pass.cached) {
        (Some(packed), _) => kernel::attention::attend((&q, &k, &v), packed, scores.scale as f32, scores.window)?,
        (None, Some(sequences)) => attend_each(&q, &k, &v, sequences, &scores)?,
        (None, None) => attend_by_length(&q, &k, &v, pass.batch, &scores)?,
    };
    attended.reshape(((), config.query_size()))
}

/// Rotary embedding of x (tokens, heads, head_dim). Neighbours that turn together are first brought to the two halves,
/// where they stay: a product of a query and a key does not know the order of their values.
fn turn(x: &Tensor, rope: &RopeTable, positions: Positions) -> Result<Tensor> {
    let (tokens, heads, head_dim) = x.dims3()?;
    let dim = 2 * rope.cos.dim(1)?;
    let mut turning = x.narrow(2, 0, dim)?;
    if positions == Positions::RotaryNeighbours {
        turning = turning.reshape((tokens, heads, dim / 2, 2))?.transpose(2, 3)?.reshape((tokens, heads, dim))?;
    }
    let turned = rope_thd(&turning.contiguous()?.unsqueeze(0)?, &rope.cos, &rope.sin)?.squeeze(0)?;
    if dim == head_dim { Ok(turned) } else { Tensor::cat(&[turned, x.narrow(2, dim, head_dim - dim)?], 2) }
}

/// The slopes of ALiBi (arXiv 2108.12409, as transformers has them): a geometric series for the largest power of two
/// of heads, and every other number of the next finer series for the rest.
fn alibi_slopes(heads: usize) -> Vec<f32> {
    let series = |heads: usize| {
        let first = 2f64.powf(-8.0 / heads as f64);
        move |i: usize| first.powi(i as i32 + 1)
    };
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let rest = (0..heads - power).map(|i| series(2 * power)(2 * i));
    (0..power).map(series(power)).chain(rest).map(|slope| slope as f32).collect()
}

/// One length after the other, by matrix products: q (rows, heads, head_dim), k and v (rows, kv_heads, head_dim) → (rows,
/// heads, head_dim).
fn attend_by_length(q: &Tensor, k: &Tensor, v: &Tensor, batch: &Batch, scores: &Scores) -> Result<Tensor> {
    let (_, heads, head_dim) = q.dims3()?;
    // An empty prefix is none: CUDA has no tensors without values.
    let prefix = Some(LengthGroup { start: 0, samples: 1, length: batch.prefix }).filter(|prefix| prefix.length > 0);
    let of_prefix = |x: &Tensor| prefix.as_ref().map(|prefix| sequences_of(x, prefix)).transpose();
    let (prefix_k, prefix_v) = (of_prefix(k)?, of_prefix(v)?);
    let mut parts = Vec::new();
    for group in prefix.iter().chain(&batch.groups).filter(|group| group.length > 0) {
        let behind_prefix = |own: Tensor, prefix: &Option<Tensor>| -> Result<Tensor> {
            let Some(prefix) = prefix.as_ref().filter(|_| group.start > 0) else { return Ok(own) };
            let (_, heads, length, head_dim) = prefix.dims4()?;
            Tensor::cat(&[&prefix.broadcast_as((group.samples, heads, length, head_dim))?.contiguous()?, &own], 2)
        };
        let k = behind_prefix(sequences_of(k, group)?, &prefix_k)?;
        let v = behind_prefix(sequences_of(v, group)?, &prefix_v)?;
        let attended = attend_sequences(&sequences_of(q, group)?, &k, &v, scores)?;
        // (samples, heads, length, head_dim) → (samples · length, heads, head_dim)
        parts.push(attended.transpose(1, 2)?.contiguous()?.reshape((group.tokens(), heads, head_dim))?);
    }
    Tensor::cat(&parts, 0)
}

/// One sequence after the other, whose keys and values lie in a cache: q (rows, heads, head_dim), k and v (places, kv_heads,
/// head_dim) → (rows, heads, head_dim).
fn attend_each(q: &Tensor, k: &Tensor, v: &Tensor, sequences: &[Sequence], scores: &Scores) -> Result<Tensor> {
    let part = |x: &Tensor, rows: &Range<usize>| {
        x.narrow(0, rows.start, rows.len())?.transpose(0, 1)?.contiguous()?.unsqueeze(0)
    };
    let attend = |sequence: &Sequence| {
        let (k, v) = (part(k, &sequence.keys)?, part(v, &sequence.keys)?);
        attend_sequences(&part(q, &sequence.queries)?, &k, &v, scores)?.squeeze(0)?.transpose(0, 1)?.contiguous()
    };
    Tensor::cat(&sequences.iter().map(attend).collect::<Result<Vec<_>>>()?, 0)
}

/// The sequences of a group: (rows of the batch, heads, head_dim) → (samples, heads, length, head_dim).
fn sequences_of(x: &Tensor, group: &LengthGroup) -> Result<Tensor> {
    let (_, heads, head_dim) = x.dims3()?;
    x.narrow(0, group.start, group.tokens())?
        .reshape((group.samples, group.length, heads, head_dim))?
        .transpose(1, 2)?
        .contiguous()
}

/// Attention of equal sequences: q (n, heads, length, d), k and v (n, kv_heads, before + length, d) → (n, heads, length,
/// d). Keys may begin before the queries.
///
/// Queries go in blocks so that the scores stay small for long samples; a block needs only the keys up to its end.
fn attend_sequences(q: &Tensor, k: &Tensor, v: &Tensor, how: &Scores) -> Result<Tensor> {
    let (n, heads, length, head_dim) = q.dims4()?;
    let (kv_heads, before) = (k.dim(1)?, k.dim(2)? - length);
    let rows_per_block = (BLOCK_SCORES / (n * heads * (before + length))).clamp(1, length);
    let mut blocks = Vec::new();
    for start in (0..length).step_by(rows_per_block) {
        let rows = rows_per_block.min(length - start);
        let keys = before + start + rows;
        // The query heads that share a key head are taken together: (n, kv_heads, heads / kv_heads · rows, d).
        let grouped = (n, kv_heads, heads / kv_heads * rows, head_dim);
        let q = (q.narrow(2, start, rows)?.contiguous()?.reshape(grouped)? * how.scale)?;
        let k = k.narrow(2, 0, keys)?.contiguous()?;
        let v = v.narrow(2, 0, keys)?.contiguous()?;
        let scores = q.matmul(&k.transpose(D::Minus2, D::Minus1)?)?.reshape((n * heads, rows, keys))?;
        let scores = softcapped(scores, how.softcap)?;
        let scores = scores.broadcast_add(&mask(before + start, rows, how.window, q.device())?)?;
        let weights = weights_of(scores.reshape((n, heads, rows, keys))?, how)?;
        let weights = weights.reshape((n, kv_heads, heads / kv_heads * rows, keys))?;
        blocks.push(weights.matmul(&v)?.reshape((n, heads, rows, head_dim))?);
    }
    Tensor::cat(&blocks, 2)
}

/// What each key weighs: masked scores (n, heads, rows, keys) → weights of the same shape.
fn weights_of(mut scores: Tensor, how: &Scores) -> Result<Tensor> {
    let (n, heads, rows, keys) = scores.dims4()?;
    if let Some(slopes) = &how.slopes {
        let positions = Tensor::arange(0, keys as u32, scores.device())?.to_dtype(scores.dtype())?;
        scores = scores.broadcast_add(&slopes.reshape((heads, 1, 1))?.broadcast_mul(&positions)?)?;
    }
    let Some(sinks) = how.sinks else { return softmax_last_dim(&scores) };
    let sinks = sinks.reshape((1, heads, 1, 1))?.broadcast_as((n, heads, rows, 1))?;
    softmax_last_dim(&Tensor::cat(&[&scores, &sinks.contiguous()?], 3)?)?.narrow(3, 0, keys)?.contiguous()
}

/// 0 where a query sees a key, −∞ elsewhere: (rows, start + rows) for the queries `start..start + rows`.
fn mask(start: usize, rows: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let keys = start + rows;
    let seen = |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let values = (0..rows)
        .flat_map(|row| (0..keys).map(move |key| if seen(start + row, key) { 0f32 } else { f32::NEG_INFINITY }));
    Tensor::from_iter(values, device)?.reshape((rows, keys))
}

#[cfg(test)]
mod tests {
    use super::super::pass;
    use super::*;
    use crate::samples::{Sample, packing};

    #[test]
    fn packed_attention_is_that_of_each_length() -> Result<()> {
        let samples = [3, 9, 9, 4, 14].map(|length| {
            // The first two tokens are no answers, so that the first one can be shared.
            let scored = (0..length).map(|place| place > 1).collect();
            Sample { ids: vec![0; length], scored, line: 1 }
        });
        for (shares, prefix) in [(false, 0), (true, 1)] {
            let batch = &packing::plan(&samples, 1000, shares)[0];
            assert_eq!(batch.prefix, prefix);
            let packed = pass::all_rows(batch);
            let random = |heads| Tensor::randn(0f32, 1.0, (batch.tokens(), heads, 8), &Device::Cpu);
            let (q, k, v) = (random(4)?, random(2)?, random(2)?);
            for window in [None, Some(1), Some(5)] {
                let scores = Scores { scale: 0.3, softcap: None, window, slopes: None, sinks: None };
                let attended = kernel::attention::attend((&q, &k, &v), &packed, 0.3, window)?;
                let difference = (attended - attend_by_length(&q, &k, &v, batch, &scores)?)?.abs()?.max_all()?;
                assert!(difference.to_scalar::<f32>()? < 1e-5, "{window:?}: {difference}");
            }
        }
        Ok(())
    }

    #[test]
    fn slopes_for_any_number_of_heads() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        // Four of the series for 4 heads, then the first and the third of that for 8.
        assert_eq!(alibi_slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    }
}
