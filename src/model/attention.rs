//! Causal attention inside each sample.
//!
//! Samples are not padded. They lie one after the other in the rows, those of one length together (a [`Group`]). Short
//! ones, the usual case, go through candle's packed attention, which deals queries out to all processors; for long ones
//! each group goes as one batch of equal sequences through matrix products, which do more per byte.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::attention::flash_attn_varlen_cpu;
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope_thd;

use super::ModelConfig;
use super::layer::{Pass, softcapped};
use crate::samples::batch::{Batch, Group};

/// The longest sequence for which packed attention is the faster one.
const LONGEST_PACKED: usize = 512;

/// The most scores (queries × keys over all heads and sequences of a block) that are held at once.
const BLOCK_SCORES: usize = 1 << 24;

/// How scores become weights in a layer.
#[derive(Debug, Clone, Copy)]
struct Scores {
    scale: f64,
    softcap: Option<f64>,
    /// How many positions back a query sees, itself included.
    window: Option<usize>,
}

/// The attention of layer `index` over queries, keys and values of (tokens, heads · head_dim); the result is shaped as
/// the queries.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, pass: &Pass, config: &ModelConfig, index: usize) -> Result<Tensor> {
    let tokens = pass.batch.tokens();
    let by_head = |x: &Tensor, heads: usize| x.reshape((tokens, heads, config.head_dim));
    let turn = |x: Tensor| match config.layer_ropes[index].map(|place| &pass.ropes[place]) {
        Some(rope) => rope_thd(&x.unsqueeze(0)?, &rope.cos, &rope.sin)?.squeeze(0),
        None => Ok(x),
    };
    let q = turn(by_head(q, config.heads)?)?;
    let k = turn(by_head(k, config.kv_heads)?)?;
    let v = by_head(v, config.kv_heads)?;
    let (scale, softcap) = (config.scales.attention, config.softcaps.attention);
    let scores = Scores { scale, softcap, window: config.windows[index] };
    let longest = pass.batch.groups.iter().map(|group| group.length).max().unwrap_or(0);
    let attended = if q.device().is_cpu() && longest <= LONGEST_PACKED && softcap.is_none() {
        attend_packed(&q, &k, &v, pass.batch, scores)?
    } else {
        attend_by_length(&q, &k, &v, pass.batch, scores)?
    };
    attended.reshape((tokens, config.query_size()))
}

/// All sequences at once: q (tokens, heads, head_dim), k and v (tokens, kv_heads, head_dim) → (tokens, heads,
/// head_dim).
fn attend_packed(q: &Tensor, k: &Tensor, v: &Tensor, batch: &Batch, scores: Scores) -> Result<Tensor> {
    let lengths = batch.groups.iter().flat_map(|group| std::iter::repeat_n(group.length as u32, group.samples));
    let lengths = Tensor::from_iter(lengths, q.device())?;
    let back = scores.window.map(|window| window - 1);
    flash_attn_varlen_cpu(q, k, v, None, &lengths, &lengths, 0, 0, scores.scale as f32, true, back, None)
}

/// As [`attend_packed`], one length after the other.
fn attend_by_length(q: &Tensor, k: &Tensor, v: &Tensor, batch: &Batch, scores: Scores) -> Result<Tensor> {
    let (_, heads, head_dim) = q.dims3()?;
    let mut parts = Vec::new();
    for group in &batch.groups {
        let sequences = |x: &Tensor| sequences_of(x, group);
        let attended = attend_sequences(&sequences(q)?, &sequences(k)?, &sequences(v)?, scores)?;
        // (samples, heads, length, head_dim) → (samples · length, heads, head_dim)
        parts.push(attended.transpose(1, 2)?.contiguous()?.reshape((group.tokens(), heads, head_dim))?);
    }
    Tensor::cat(&parts, 0)
}

/// The sequences of a group: (tokens of the batch, heads, head_dim) → (samples, heads, length, head_dim).
fn sequences_of(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (_, heads, head_dim) = x.dims3()?;
    x.narrow(0, group.start, group.tokens())?
        .reshape((group.samples, group.length, heads, head_dim))?
        .transpose(1, 2)?
        .contiguous()
}

/// Attention of equal sequences: q (n, heads, length, d), k and v (n, kv_heads, length, d) → (n, heads, length, d).
///
/// Queries go in blocks so that the scores stay small for long samples; a block needs only the keys up to its end.
fn attend_sequences(q: &Tensor, k: &Tensor, v: &Tensor, how: Scores) -> Result<Tensor> {
    let (n, heads, length, head_dim) = q.dims4()?;
    let kv_heads = k.dim(1)?;
    let rows_per_block = (BLOCK_SCORES / (n * heads * length)).clamp(1, length);
    let mut blocks = Vec::new();
    for start in (0..length).step_by(rows_per_block) {
        let rows = rows_per_block.min(length - start);
        let keys = start + rows;
        // The query heads that share a key head are taken together: (n, kv_heads, heads / kv_heads · rows, d).
        let grouped = (n, kv_heads, heads / kv_heads * rows, head_dim);
        let q = (q.narrow(2, start, rows)?.contiguous()?.reshape(grouped)? * how.scale)?;
        let k = k.narrow(2, 0, keys)?.contiguous()?;
        let v = v.narrow(2, 0, keys)?.contiguous()?;
        let scores = q.matmul(&k.transpose(D::Minus2, D::Minus1)?)?.reshape((n * heads, rows, keys))?;
        let scores = softcapped(scores, how.softcap)?;
        let scores = scores.broadcast_add(&mask(start, rows, how.window, q.device())?)?;
        let weights = softmax_last_dim(&scores)?.reshape((n, kv_heads, heads / kv_heads * rows, keys))?;
        blocks.push(weights.matmul(&v)?.reshape((n, heads, rows, head_dim))?);
    }
    Tensor::cat(&blocks, 2)
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
    use super::*;
    use crate::samples::{Sample, batch};

    #[test]
    fn packed_attention_is_that_of_each_length() -> Result<()> {
        let sample = |length: usize| Sample { ids: vec![0; length], scored: vec![true; length], line: 1 };
        let batch = &batch::plan(&[3, 9, 9, 1, 14].map(sample), 1000)[0];
        let random = |heads| Tensor::randn(0f32, 1.0, (batch.tokens(), heads, 8), &Device::Cpu);
        let (q, k, v) = (random(4)?, random(2)?, random(2)?);
        for window in [None, Some(1), Some(5)] {
            let scores = Scores { scale: 0.3, softcap: None, window };
            let packed = attend_packed(&q, &k, &v, batch, scores)?;
            let difference = (packed - attend_by_length(&q, &k, &v, batch, scores)?)?.abs()?.max_all()?;
            assert!(difference.to_scalar::<f32>()? < 1e-5, "{window:?}: {difference}");
        }
        Ok(())
    }
}
