//! Causal attention inside each sample.
//!
//! Samples are not padded. They lie one after the other in the rows, those of one length together (a [`Group`]), and
//! each group goes through attention as one batch of equal sequences.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope;

use super::ModelConfig;
use super::layer::Pass;
use super::rope::RopeTable;
use crate::samples::batch::Group;

/// The most scores (queries × keys over all heads and sequences of a block) that are held at once.
const BLOCK_SCORES: usize = 1 << 24;

/// Attention over queries, keys and values of (streams · tokens, heads · head_dim) rows; the result is shaped as the
/// queries. `window` is how many positions back a query sees, itself included.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pass: &Pass,
    config: &ModelConfig,
    window: Option<usize>,
) -> Result<Tensor> {
    let tokens = pass.batch.tokens();
    let streams = q.dim(0)? / tokens;
    let mut parts = Vec::new();
    for group in &pass.batch.groups {
        let table = &pass.ropes[&group.length];
        let (q, k, v) = (
            turn(&heads_of(q, group, streams, config.heads)?, table)?,
            turn(&heads_of(k, group, streams, config.kv_heads)?, table)?,
            heads_of(v, group, streams, config.kv_heads)?,
        );
        let attended = attend_sequences(&q, &k, &v, window)?;
        // (streams · samples, heads, length, head_dim) → (streams, samples · length, heads · head_dim)
        let rows = attended.transpose(1, 2)?.contiguous()?.reshape((streams, group.tokens(), config.query_size()))?;
        parts.push(rows);
    }
    Tensor::cat(&parts, 1)?.reshape((streams * tokens, config.query_size()))
}

/// The rows of a group by head: (streams · tokens, heads · head_dim) → (streams · samples, heads, length, head_dim).
fn heads_of(rows: &Tensor, group: &Group, streams: usize, heads: usize) -> Result<Tensor> {
    let (all, width) = rows.dims2()?;
    rows.reshape((streams, all / streams, width))?
        .narrow(1, group.start, group.tokens())?
        .contiguous()?
        .reshape((streams * group.samples, group.length, heads, width / heads))?
        .transpose(1, 2)?
        .contiguous()
}

fn turn(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    rope(x, &table.cos, &table.sin)
}

/// Attention of equal sequences: q (n, heads, length, d), k and v (n, kv_heads, length, d) → (n, heads, length, d).
///
/// Queries go in blocks so that the scores stay small for long samples; a block needs only the keys up to its end.
fn attend_sequences(q: &Tensor, k: &Tensor, v: &Tensor, window: Option<usize>) -> Result<Tensor> {
    let (n, heads, length, head_dim) = q.dims4()?;
    let kv_heads = k.dim(1)?;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let rows_per_block = (BLOCK_SCORES / (n * heads * length)).clamp(1, length);
    let mut blocks = Vec::new();
    for start in (0..length).step_by(rows_per_block) {
        let rows = rows_per_block.min(length - start);
        let keys = start + rows;
        // The query heads that share a key head are taken together: (n, kv_heads, heads / kv_heads · rows, d).
        let grouped = (n, kv_heads, heads / kv_heads * rows, head_dim);
        let q = (q.narrow(2, start, rows)?.contiguous()?.reshape(grouped)? * scale)?;
        let k = k.narrow(2, 0, keys)?.contiguous()?;
        let v = v.narrow(2, 0, keys)?.contiguous()?;
        let scores = q.matmul(&k.transpose(D::Minus2, D::Minus1)?)?.reshape((n * heads, rows, keys))?;
        let scores = scores.broadcast_add(&mask(start, rows, window, q.device())?)?;
        let weights = softmax_last_dim(&scores)?.reshape((n, kv_heads, heads / kv_heads * rows, keys))?;
        blocks.push(weights.matmul(&v)?.reshape((n, heads, rows, head_dim))?);
    }
    Tensor::cat(&blocks, 2)
}

/// 0 where a query sees a key, −∞ elsewhere: (rows, start + rows) for the queries `start..start + rows`.
fn mask(start: usize, rows: usize, window: Option<usize>, device: &candle_core::Device) -> Result<Tensor> {
    let keys = start + rows;
    let seen = |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let values = (0..rows)
        .flat_map(|row| (0..keys).map(move |key| if seen(start + row, key) { 0f32 } else { f32::NEG_INFINITY }));
    Tensor::from_iter(values, device)?.reshape((rows, keys))
}
