//! Causal attention over short sequences that lie one after the other, each behind a prefix that all of them share.
//!
//! Sequences of a few dozen tokens are too small for matrix products and too many for one query at a time: the keys of a
//! head are transposed once, and then every query runs along them in vectors.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::elementwise::{exp, for_each_processor};

/// One sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Its rows among the queries, which are the last tokens of the sequence.
    pub queries: Range<usize>,
    /// Its rows among keys and values, behind those of the prefix.
    pub keys: Range<usize>,
    /// The rows of the prefix; empty for the prefix itself.
    pub prefix: Range<usize>,
}

/// Attention of q (queries, heads, d) to k and v (rows, kv_heads, d): (queries, heads, d). A query sees at most `window`
/// positions back, itself included.
pub fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    sequences: &[Sequence],
    scale: f32,
    window: Option<usize>,
) -> Result<Tensor> {
    let window = window.unwrap_or(usize::MAX);
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &Attention { sequences, scale, window })
}

struct Attention<'a> {
    sequences: &'a [Sequence],
    scale: f32,
    window: usize,
}

impl CustomOp3 for Attention<'_> {
    fn name(&self) -> &'static str {
        "packed-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (queries, heads, size) = q_layout.shape().dims3()?;
        let (_, kv_heads, _) = k_layout.shape().dims3()?;
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let mut out = vec![0f32; queries * heads * size];
        // Each sequence writes rows of its own, one sequence after the other.
        let mut rest = out.as_mut_slice();
        let mut tasks = Vec::with_capacity(self.sequences.len());
        for sequence in self.sequences {
            let (own, others) = rest.split_at_mut(sequence.queries.len() * heads * size);
            tasks.push((sequence, own));
            rest = others;
        }
        let sizes = Sizes { heads, kv_heads, size };
        tasks.into_par_iter().for_each_init(Buffers::default, |buffers, (sequence, out)| {
            let q = &q[sequence.queries.start * heads * size..sequence.queries.end * heads * size];
            for kv_head in 0..kv_heads {
                buffers.gather(k, v, sequence, kv_head, sizes);
                let (scale, window) = (self.scale, self.window);
                attend_group(
                    q,
                    &buffers.keys,
                    &buffers.values,
                    out,
                    &mut buffers.scores,
                    (kv_head, sizes),
                    (scale, window),
                );
            }
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("attention over values that are not contiguous"),
    }
}

#[derive(Clone, Copy)]
pub struct Sizes {
    heads: usize,
    kv_heads: usize,
    /// Of a head.
    size: usize,
}

/// The keys and values of one head of one sequence.
#[derive(Default)]
struct Buffers {
    /// (size, positions)
    keys: Vec<f32>,
    /// (positions, size)
    values: Vec<f32>,
    scores: Vec<f32>,
}

impl Buffers {
    fn gather(&mut self, k: &[f32], v: &[f32], sequence: &Sequence, kv_head: usize, sizes: Sizes) {
        let Sizes { kv_heads, size, .. } = sizes;
        let positions = sequence.prefix.len() + sequence.keys.len();
        self.keys.resize(size * positions, 0.0);
        self.scores.resize(positions, 0.0);
        self.values.clear();
        for (position, row) in sequence.prefix.clone().chain(sequence.keys.clone()).enumerate() {
            let start = (row * kv_heads + kv_head) * size;
            self.values.extend_from_slice(&v[start..start + size]);
            for (dimension, &key) in k[start..start + size].iter().enumerate() {
                self.keys[dimension * positions + position] = key;
            }
        }
    }
}

for_each_processor! {
    /// All queries of the heads that share one head of keys.
    pub fn attend_group(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
        place: (usize, Sizes),
        how: (f32, usize)
    ) { attend_group_inner }
}

#[inline(always)]
fn attend_group_inner(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
    scores: &mut [f32],
    (kv_head, sizes): (usize, Sizes),
    (scale, window): (f32, usize),
) {
    let Sizes { heads, kv_heads, size } = sizes;
    let (positions, queries) = (scores.len(), q.len() / (heads * size));
    let group = heads / kv_heads;
    for query in 0..queries {
        let seen = positions - queries + query + 1;
        let first = seen.saturating_sub(window);
        for head in kv_head * group..(kv_head + 1) * group {
            let start = (query * heads + head) * size;
            let scores = &mut scores[first..seen];
            scores.fill(0.0);
            for (dimension, &value) in q[start..start + size].iter().enumerate() {
                let keys = &keys[dimension * positions + first..dimension * positions + seen];
                scores.iter_mut().zip(keys).for_each(|(score, &key)| *score += value * key);
            }
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().for_each(|score| *score = exp((*score - largest) * scale));
            let sum: f32 = scores.iter().sum();
            let out = &mut out[start..start + size];
            for (position, &weight) in scores.iter().enumerate() {
                let value = &values[(first + position) * size..(first + position + 1) * size];
                out.iter_mut().zip(value).for_each(|(out, &value)| *out += weight * value);
            }
            out.iter_mut().for_each(|out| *out /= sum);
        }
    }
}
