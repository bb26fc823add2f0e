//! The rate of packed attention, by the length of sequences and the heads of small and large models.
//!
//! ```text
//! cargo bench --bench attention
//! ```
//! One line of JSON per shape and length, in GFLOP/s of the products of queries with keys that they see, and of weights with values,
//! for `scripts/bench/attention.py`, which puts PyTorch's `scaled_dot_product_attention` beside them.

use std::time::Instant;

use candle_core::{Device, Tensor};
use lora_slim::kernel::attention::{Projections, SoftmaxRule, Span, attend};

/// (model, heads, heads of keys, size of a head).
const SHAPES: [(&str, usize, usize, usize); 2] = [("135M", 9, 3, 64), ("8B", 32, 8, 128)];
const LENGTHS: [usize; 5] = [128, 512, 1024, 3072, 8192];
/// Tokens of a batch: so many sequences, at least two.
const TOKENS: usize = 4096;
const ROUNDS: usize = 5;

fn main() -> candle_core::Result<()> {
    for (model, heads, kv_heads, size) in SHAPES {
        for length in LENGTHS {
            let sequences = (TOKENS / length).max(2);
            let random = |heads: usize| Tensor::randn(0f32, 1.0, (sequences * length, heads, size), &Device::Cpu);
            let (q, k, v) = (random(heads)?, random(kv_heads)?, random(kv_heads)?);
            let rows = |sequence: usize| sequence * length..(sequence + 1) * length;
            let spans: Vec<Span> = (0..sequences)
                .map(|sequence| Span { queries: rows(sequence), keys: rows(sequence), prefix: 0..0, prompt: 0 })
                .collect();
            let flop = 4.0 * (sequences * heads * size) as f64 * (length * (length + 1) / 2) as f64;
            let rate = |softcap| -> candle_core::Result<f64> {
                let rule = SoftmaxRule { scale: 1.0 / (size as f32).sqrt(), softcap, ..SoftmaxRule::default() };
                let mut seconds = Vec::with_capacity(ROUNDS);
                for _ in 0..ROUNDS {
                    let began = Instant::now();
                    attend(Projections { q: &q, k: &k, v: &v }, &spans, rule)?;
                    seconds.push(began.elapsed().as_secs_f64());
                }
                seconds.sort_by(f64::total_cmp);
                Ok(flop / seconds[ROUNDS / 2] / 1e9)
            };
            let (plain, capped) = (rate(None)?, rate(Some(50.0))?);
            println!(
                "{{\"model\": \"{model}\", \"heads\": {heads}, \"kv_heads\": {kv_heads}, \"size\": {size}, \"length\": {length}, \
                 \"sequences\": {sequences}, \"gflops\": {plain:.1}, \"capped\": {capped:.1}}}"
            );
        }
    }
    Ok(())
}
