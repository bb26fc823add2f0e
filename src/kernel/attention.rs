//! Causal attention over short sequences that lie one after the other, each behind a prefix that all of them share.
//!
//! Sequences of a few dozen tokens are too small for matrix products and too many for one query at a time. So the keys of a
//! head are transposed once, and a few queries at a time are multiplied with them in vectors, with the sums in registers.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::elementwise::{exp, for_each_processor};

/// Queries (rows, heads, d), keys and values (rows, kv_heads, d).
#[derive(Clone, Copy)]
pub struct Projections<'a> {
    pub q: &'a Tensor,
    pub k: &'a Tensor,
    pub v: &'a Tensor,
}

/// Where the rows of one sequence are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Among the queries: the last tokens of the sequence.
    pub queries: Range<usize>,
    /// Among keys and values, behind those of the prefix.
    pub keys: Range<usize>,
    /// The rows of the prefix; empty for the prefix itself.
    pub prefix: Range<usize>,
    /// So many first positions all see each other, whatever the window: a prompt that is attended to both ways. 0 if
    /// attention is causal.
    pub prompt: usize,
}

/// Attention inside each sequence: (queries, heads, d). A query sees at most `window` positions back, itself included.
pub fn attend(inputs: Projections, sequences: &[Span], scale: f32, window: Option<usize>) -> Result<Tensor> {
    let Projections { q, k, v } = inputs;
    let window = window.unwrap_or(usize::MAX);
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &PackedAttention { sequences, scale, window })
}

struct PackedAttention<'a> {
    sequences: &'a [Span],
    scale: f32,
    window: usize,
}

impl CustomOp3 for PackedAttention<'_> {
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
        let sizes = HeadSizes { heads, kv_heads, size };
        let rule = SoftmaxRule { sizes, scale: self.scale, window: self.window };
        tasks.into_par_iter().for_each_init(Buffers::default, |buffers, (sequence, out)| {
            let q = &q[sequence.queries.start * heads * size..sequence.queries.end * heads * size];
            for kv_head in 0..kv_heads {
                buffers.gather(k, v, sequence, kv_head, sizes);
                attend_group(q, buffers, out, kv_head, rule);
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
struct HeadSizes {
    heads: usize,
    kv_heads: usize,
    /// Of a head.
    size: usize,
}

/// How scores become weights.
#[derive(Clone, Copy)]
pub struct SoftmaxRule {
    sizes: HeadSizes,
    scale: f32,
    window: usize,
}

/// The sums that are taken at once: of so many queries, over so many positions or values of a head.
const ROWS: usize = 4;
const LANES: usize = 16;

/// The keys and values of one head of one sequence, padded with zeros to whole lanes.
#[derive(Default)]
pub struct Buffers {
    positions: usize,
    prompt: usize,
    /// (size, padded positions)
    keys: Vec<f32>,
    /// (positions, padded size)
    values: Vec<f32>,
    /// The scores and then the weights of a few queries: (rows, padded positions).
    weights: Vec<f32>,
}

impl Buffers {
    fn gather(&mut self, k: &[f32], v: &[f32], sequence: &Span, kv_head: usize, sizes: HeadSizes) {
        let HeadSizes { kv_heads, size, .. } = sizes;
        self.positions = sequence.prefix.len() + sequence.keys.len();
        self.prompt = sequence.prompt.min(self.positions);
        let (length, width) = (self.positions.next_multiple_of(LANES), size.next_multiple_of(LANES));
        let zeros = |buffer: &mut Vec<f32>, count: usize| {
            buffer.clear();
            buffer.resize(count, 0.0);
        };
        zeros(&mut self.keys, size * length);
        zeros(&mut self.values, self.positions * width);
        zeros(&mut self.weights, ROWS * length);
        for (position, row) in sequence.prefix.clone().chain(sequence.keys.clone()).enumerate() {
            let start = (row * kv_heads + kv_head) * size;
            self.values[position * width..][..size].copy_from_slice(&v[start..start + size]);
            for (dimension, &key) in k[start..start + size].iter().enumerate() {
                self.keys[dimension * length + position] = key;
            }
        }
    }
}

for_each_processor! {
    /// All queries of the heads that share the head `kv_head` of keys.
    pub fn attend_group(
        q: &[f32],
        buffers: &mut Buffers,
        out: &mut [f32],
        kv_head: usize,
        rule: SoftmaxRule
    ) { attend_group_inner }
}

#[inline(always)]
fn attend_group_inner(q: &[f32], buffers: &mut Buffers, out: &mut [f32], kv_head: usize, rule: SoftmaxRule) {
    let SoftmaxRule { sizes: HeadSizes { heads, kv_heads, size }, scale, window } = rule;
    let Buffers { positions, prompt, keys, values, weights } = buffers;
    let (queries, group) = (q.len() / (heads * size), heads / kv_heads);
    let (length, width) = (positions.next_multiple_of(LANES), size.next_multiple_of(LANES));
    let rows = queries * group;
    for first in (0..rows).step_by(ROWS) {
        // If fewer rows are left, the last one is computed again.
        let row = |i: usize| (first + i).min(rows - 1);
        let start = |i: usize| (row(i) / group * heads + kv_head * group + row(i) % group) * size;
        let place = |i: usize| *positions - queries + row(i) / group;
        let sees = |i: usize| match place(i) {
            place if place < *prompt => 0..*prompt,
            place => (place + 1).saturating_sub(window)..place + 1,
        };
        // No other row sees more than the last one.
        let seen = sees(ROWS - 1).end;
        let queries: [&[f32]; ROWS] = std::array::from_fn(|i| &q[start(i)..start(i) + size]);
        for position in (0..seen).step_by(LANES) {
            let sums = score(queries, &keys[position..], length);
            for (i, sums) in sums.iter().enumerate() {
                weights[i * length + position..][..LANES].copy_from_slice(sums);
            }
        }
        for (i, weights) in weights.chunks_exact_mut(length).enumerate() {
            softmax(weights, sees(i), scale);
        }
        for dimension in (0..size).step_by(LANES) {
            let mixed = mix(weights, length, &values[dimension..], width, seen);
            for (i, mixed) in mixed.iter().enumerate().take(rows - first) {
                let lanes = LANES.min(size - dimension);
                out[start(i) + dimension..][..lanes].copy_from_slice(&mixed[..lanes]);
            }
        }
    }
}

/// The products of queries with the keys of one lane-full of positions; `keys` (size, length).
#[inline(always)]
fn score(queries: [&[f32]; ROWS], keys: &[f32], length: usize) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0f32; LANES]; ROWS];
    for dimension in 0..queries[0].len() {
        let keys = &keys[dimension * length..][..LANES];
        for (sums, query) in sums.iter_mut().zip(queries) {
            let value = query[dimension];
            sums.iter_mut().zip(keys).for_each(|(sum, &key)| *sum += value * key);
        }
    }
    sums
}

/// Scores to weights: the softmax over the positions that a query sees, zero elsewhere.
#[inline(always)]
fn softmax(scores: &mut [f32], sees: Range<usize>, scale: f32) {
    scores[..sees.start].fill(0.0);
    scores[sees.end..].fill(0.0);
    let scores = &mut scores[sees];
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = exp((*score - largest) * scale));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The weighted sums of the values of `seen` positions, in one lane-full of dimensions; `weights` (rows, length), `values`
/// (positions, width).
#[inline(always)]
fn mix(weights: &[f32], length: usize, values: &[f32], width: usize, seen: usize) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0f32; LANES]; ROWS];
    for position in 0..seen {
        let values = &values[position * width..][..LANES];
        for (i, sums) in sums.iter_mut().enumerate() {
            let weight = weights[i * length + position];
            sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += weight * value);
        }
    }
    sums
}
