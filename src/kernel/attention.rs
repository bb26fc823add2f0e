//! Causal attention over sequences that lie one after the other, each behind a prefix that all of them share.
//!
//! Keys of a head are brought into tiles of some positions, dimension by dimension, so that a few queries at a time are multiplied with
//! a tile in vectors, with the sums in registers. Queries and keys go in blocks that fit into the processor's caches, and the softmax
//! is that of the keys seen so far (arXiv 2205.14135): no scores but those of one block are held, and blocks that no query of a block
//! sees are passed by.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::attention_block::{QueryBlock, Sums, attend_block};
use super::attention_keys::{HeadSizes, PackedHead};
pub use super::attention_keys::{SoftmaxRule, Span};

/// Queries (rows, heads, d), keys and values (rows, kv_heads, d).
#[derive(Clone, Copy)]
pub struct Projections<'a> {
    pub q: &'a Tensor,
    pub k: &'a Tensor,
    pub v: &'a Tensor,
}

/// Attention inside each sequence: (queries, heads, d).
pub fn attend(inputs: Projections, sequences: &[Span], rule: SoftmaxRule) -> Result<Tensor> {
    let Projections { q, k, v } = inputs;
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &PackedAttention { sequences, rule })
}

struct PackedAttention<'a> {
    sequences: &'a [Span],
    rule: SoftmaxRule<'a>,
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
        super::device::require_cpu(self.name())?;
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
        tasks.into_par_iter().for_each_init(Vec::new, |packed, (sequence, out)| {
            packed.resize_with(kv_heads, PackedHead::default);
            packed.iter_mut().enumerate().for_each(|(kv_head, packed)| packed.fill(k, v, sequence, kv_head, sizes));
            let q = &q[sequence.queries.start * heads * size..sequence.queries.end * heads * size];
            let rows = sizes.queries_of_block() * heads * size;
            let blocks = q.par_chunks(rows).zip(out.par_chunks_mut(rows)).enumerate();
            blocks.for_each_init(Sums::default, |sums, (number, (q, out))| {
                let first = sequence.total() - sequence.queries.len() + number * sizes.queries_of_block();
                for (kv_head, packed) in packed.iter().enumerate() {
                    let queries = QueryBlock { q, first, kv_head, sizes };
                    attend_block(queries, packed, sums, out, self.rule);
                }
            });
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
