//! How scores become weights, and attention by matrix products, for derivatives and GPUs.

use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};

use crate::kernel;
use crate::kernel::attention::{Projections, SoftmaxRule, Span};
use crate::kernel::device::matmul;
use crate::kernel::gradient::softmax;
use crate::model::family::PromptAttention;
use crate::model::scaling::softcapped;
use crate::samples::packing::{Batch, LengthGroup};

/// The most scores (queries × keys over all heads and sequences of a block) that are held at once.
const BLOCK_SCORES: usize = 1 << 24;

/// How scores become weights in a layer.
#[derive(Debug)]
pub struct ScoreRules<'a> {
    pub scale: f64,
    pub softcap: Option<f64>,
    /// How many positions back a query sees, itself included.
    pub window: Option<usize>,
    /// The length of the parts of a sequence that do not see each other.
    pub chunk: Option<usize>,
    /// ALiBi: by how much each head's scores grow with the key's position, (heads).
    pub slopes: Option<Tensor>,
    /// One more score per head that no value belongs to, (heads).
    pub sinks: Option<&'a Tensor>,
    pub prompt: PromptAttention,
}

/// Packed attention, by this crate's code for the CPU: (queries, heads, head_dim).
pub fn attend_packed(inputs: Projections, sequences: &[Span], rules: &ScoreRules) -> Result<Tensor> {
    let numbers =
        |of_heads: Option<&Tensor>| of_heads.map_or(Ok(Vec::new()), |of_heads| of_heads.flatten_all()?.to_vec1());
    let (slopes, sinks) = (numbers(rules.slopes.as_ref())?, numbers(rules.sinks)?);
    let rule = SoftmaxRule {
        scale: rules.scale as f32,
        softcap: rules.softcap.map(|cap| cap as f32),
        slopes: &slopes,
        sinks: &sinks,
        window: rules.window,
        chunk: rules.chunk,
    };
    kernel::attention::attend(inputs, sequences, rule)
}

/// The slopes of ALiBi (arXiv 2108.12409, as transformers has them): a geometric series for the largest power of two
/// of heads, and every other number of the next finer series for the rest.
pub fn alibi_slopes(heads: usize) -> Vec<f32> {
    let series = |heads: usize| {
        let first = 2f64.powf(-8.0 / heads as f64);
        move |i: usize| first.powi(i as i32 + 1)
    };
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let rest = (0..heads - power).map(|i| series(2 * power)(2 * i));
    (0..power).map(series(power)).chain(rest).map(|slope| slope as f32).collect()
}

/// Attention in a batch, the samples of one length at a time: (rows, heads, head_dim).
pub fn attend_by_length(inputs: Projections, batch: &Batch, rules: &ScoreRules) -> Result<Tensor> {
    let Projections { q, k, v } = inputs;
    let (_, heads, head_dim) = q.dims3()?;
    // An empty prefix counts as none, because CUDA has no empty tensors.
    let prefix = Some(LengthGroup { start: 0, samples: 1, length: batch.prefix }).filter(|prefix| prefix.length > 0);
    let of_prefix = |x: &Tensor| prefix.as_ref().map(|prefix| sequences_of(x, prefix)).transpose();
    let (prefix_k, prefix_v) = (of_prefix(k)?, of_prefix(v)?);
    let mut parts = Vec::new();
    let mut prompts = batch.sequences.iter().map(|sequence| rules.prompt.both_ways(sequence.prompt));
    for group in prefix.iter().chain(&batch.groups).filter(|group| group.length > 0) {
        let behind_prefix = |own: Tensor, prefix: &Option<Tensor>| -> Result<Tensor> {
            let Some(prefix) = prefix.as_ref().filter(|_| group.start > 0) else { return Ok(own) };
            let (_, heads, length, head_dim) = prefix.dims4()?;
            Tensor::cat(&[&prefix.broadcast_as((group.samples, heads, length, head_dim))?.contiguous()?, &own], 2)
        };
        let k = behind_prefix(sequences_of(k, group)?, &prefix_k)?;
        let v = behind_prefix(sequences_of(v, group)?, &prefix_v)?;
        // The prefix, which is no sequence, is shared in causal models only.
        let prompts: Vec<usize> = if rules.prompt == PromptAttention::Causal {
            Vec::new()
        } else {
            prompts.by_ref().take(group.samples).collect()
        };
        let attended = attend_sequences(&sequences_of(q, group)?, &k, &v, &prompts, rules)?;
        // (samples, heads, length, head_dim) → (samples · length, heads, head_dim)
        parts.push(attended.transpose(1, 2)?.contiguous()?.reshape((group.tokens(), heads, head_dim))?);
    }
    Tensor::cat(&parts, 0)
}

/// Attention to keys and values in a cache, (places, kv_heads, head_dim), one sequence at a time: (rows, heads, head_dim).
pub fn attend_each(inputs: Projections, sequences: &[Span], rules: &ScoreRules) -> Result<Tensor> {
    let Projections { q, k, v } = inputs;
    let part = |x: &Tensor, rows: &Range<usize>| {
        x.narrow(0, rows.start, rows.len())?.transpose(0, 1)?.contiguous()?.unsqueeze(0)
    };
    let attend = |sequence: &Span| {
        let (k, v) = (part(k, &sequence.keys)?, part(v, &sequence.keys)?);
        attend_sequences(&part(q, &sequence.queries)?, &k, &v, &[sequence.prompt], rules)?
            .squeeze(0)?
            .transpose(0, 1)?
            .contiguous()
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

/// Attention of n equally long sequences: q (n, heads, length, d), k and v (n, kv_heads, before + length, d) → (n, heads,
/// length, d). Keys may begin before the queries. The first `prompts[i]` positions of sequence i all see each other; without
/// `prompts` attention is causal.
///
/// Queries go in blocks, so that the scores of long samples stay small; a block needs only the keys that one of it sees.
fn attend_sequences(q: &Tensor, k: &Tensor, v: &Tensor, prompts: &[usize], rules: &ScoreRules) -> Result<Tensor> {
    let (n, heads, length, head_dim) = q.dims4()?;
    let (kv_heads, before) = (k.dim(1)?, k.dim(2)? - length);
    let rows_per_block = (BLOCK_SCORES / (n * heads * (before + length))).clamp(1, length);
    let mut blocks = Vec::new();
    for start in (0..length).step_by(rows_per_block) {
        let rows = rows_per_block.min(length - start);
        let longest_prompt = prompts.iter().copied().max().unwrap_or(0).min(before + length);
        let keys = (before + start + rows).max(longest_prompt);
        // The query heads that share a key head are taken together: (n, kv_heads, heads / kv_heads · rows, d).
        let grouped = (n, kv_heads, heads / kv_heads * rows, head_dim);
        let q = (q.narrow(2, start, rows)?.contiguous()?.reshape(grouped)? * rules.scale)?;
        let k = k.narrow(2, 0, keys)?.contiguous()?;
        let v = v.narrow(2, 0, keys)?.contiguous()?;
        let scores = matmul(&q, &k.transpose(D::Minus2, D::Minus1)?)?.reshape((n, heads, rows, keys))?;
        let scores = softcapped(scores, rules.softcap)?;
        let queries = before + start..before + start + rows;
        let scores = scores.broadcast_add(&mask(queries, keys, prompts, rules, q.device())?)?;
        let weights = weights_of(scores, rules)?;
        let weights = weights.reshape((n, kv_heads, heads / kv_heads * rows, keys))?;
        blocks.push(matmul(&weights, &v)?.reshape((n, heads, rows, head_dim))?);
    }
    Tensor::cat(&blocks, 2)
}

/// The weights of keys: masked scores (n, heads, rows, keys) → the same shape.
fn weights_of(mut scores: Tensor, rules: &ScoreRules) -> Result<Tensor> {
    let (n, heads, rows, keys) = scores.dims4()?;
    if let Some(slopes) = &rules.slopes {
        let positions = Tensor::arange(0, keys as u32, scores.device())?.to_dtype(scores.dtype())?;
        scores = scores.broadcast_add(&slopes.reshape((heads, 1, 1))?.broadcast_mul(&positions)?)?;
    }
    let Some(sinks) = rules.sinks else { return softmax(&scores) };
    let sinks = sinks.reshape((1, heads, 1, 1))?.broadcast_as((n, heads, rows, 1))?;
    softmax(&Tensor::cat(&[&scores, &sinks.contiguous()?], 3)?)?.narrow(3, 0, keys)?.contiguous()
}

/// 0 where a query sees a key, −∞ elsewhere: (1, 1, queries, keys), or with prompts of several sequences (sequences, 1,
/// queries, keys).
fn mask(queries: Range<usize>, keys: usize, prompts: &[usize], rules: &ScoreRules, device: &Device) -> Result<Tensor> {
    let sees = |query: usize, key: usize, prompt: usize| match query < prompt {
        true => key < prompt,
        false => {
            let is_near = rules.window.is_none_or(|window| query - key < window);
            key <= query && is_near && rules.chunk.is_none_or(|chunk| query / chunk == key / chunk)
        }
    };
    let prompts = if prompts.is_empty() { &[0] } else { prompts };
    let mut values = Vec::with_capacity(prompts.len() * queries.len() * keys);
    for &prompt in prompts {
        for query in queries.clone() {
            values.extend((0..keys).map(|key| if sees(query, key, prompt) { 0f32 } else { f32::NEG_INFINITY }));
        }
    }
    Tensor::from_vec(values, (prompts.len(), 1, queries.len(), keys), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_for_any_number_of_heads() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        // Four of the series for 4 heads, then the first and the third of that for 8.
        assert_eq!(alibi_slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    }
}
