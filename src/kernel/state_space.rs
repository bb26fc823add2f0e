//! The state-space recurrence of Mamba-2: a memory of fixed size for each head, so that every token takes the same time.
//!
//! A head keeps a matrix S of (head size, state size). Each token lets it decay, adds its input at the token's key, and reads it with
//! the token's query; heads of a group share key and query:
//!
//! ```text
//! Δ = softplus(step), within limits
//! S ← e^(Δ·A) · S + Δ·x ⊗ B
//! y = S·C + D·x
//! ```
//!
//! Source: `mamba2_chunk_scan` in `modeling_granitemoehybrid.py` of transformers 5.24, which takes the same sums in chunks; arXiv
//! 2405.21060.

use rayon::prelude::*;

use super::elementwise::for_each_processor;
use super::recurrent::{self, Filters, RecurrentState, StateSizes};

/// The sizes of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceSizes {
    pub heads: usize,
    pub head_size: usize,
    pub state_size: usize,
    /// Each serves `heads / groups` heads, one after the other.
    pub groups: usize,
    /// The tokens that the convolution before the heads sees, the current one included.
    pub taps: usize,
}

impl SpaceSizes {
    /// The inputs of all heads of a token, then the keys of all groups, then their queries.
    pub fn channels(self) -> usize {
        self.values() + 2 * self.groups * self.state_size
    }

    pub fn values(self) -> usize {
        self.heads * self.head_size
    }

    /// Memories are (heads, head_size, state_size).
    pub fn state(self) -> StateSizes {
        StateSizes { inputs: (self.taps - 1) * self.channels(), memories: self.values() * self.state_size }
    }

    /// Where the key of a head begins among the channels; its query lies as many values behind it as all keys have.
    fn key_of(self, head: usize) -> usize {
        self.values() + head * self.groups / self.heads * self.state_size
    }
}

/// What all tokens share.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    pub filters: Filters<'a>,
    /// A and D: (heads)
    pub rates: &'a [f32],
    pub skips: &'a [f32],
    /// The least and the largest Δ.
    pub limits: [f32; 2],
}

/// The tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct SpaceTokens<'a> {
    /// (tokens, channels)
    pub inputs: &'a [f32],
    /// Before softplus: (tokens, heads)
    pub steps: &'a [f32],
}

/// Runs the tokens of a sequence behind a state, which it moves on: (tokens, values).
pub fn run(sizes: SpaceSizes, shared: Shared, tokens: SpaceTokens, state: &mut RecurrentState) -> Vec<f32> {
    let mut mixed = recurrent::convolve(shared.filters, tokens.inputs, &mut state.inputs);
    recurrent::silu(&mut mixed);
    let memories = state.memories.par_chunks_exact_mut(sizes.head_size * sizes.state_size);
    let by_head: Vec<Vec<f32>> = memories
        .enumerate()
        .map(|(head, memory)| read_by_head(sizes, shared, &mixed, tokens.steps, head, memory))
        .collect();
    let count = mixed.len() / sizes.channels();
    let mut read = vec![0.0; count * sizes.values()];
    for (token, read) in read.chunks_exact_mut(sizes.values()).enumerate() {
        for (read, of_head) in read.chunks_exact_mut(sizes.head_size).zip(&by_head) {
            read.copy_from_slice(&of_head[token * sizes.head_size..][..sizes.head_size]);
        }
    }
    read
}

/// What one head reads, token by token: (tokens, head_size).
fn read_by_head(
    sizes: SpaceSizes,
    shared: Shared,
    mixed: &[f32],
    steps: &[f32],
    head: usize,
    memory: &mut [f32],
) -> Vec<f32> {
    let (key_start, keys) = (sizes.key_of(head), sizes.groups * sizes.state_size);
    let mut read = vec![0.0; mixed.len() / sizes.channels() * sizes.head_size];
    let tokens = mixed.chunks_exact(sizes.channels()).zip(steps.chunks_exact(sizes.heads));
    for ((channels, steps), read) in tokens.zip(read.chunks_exact_mut(sizes.head_size)) {
        let input = &channels[head * sizes.head_size..][..sizes.head_size];
        let key = &channels[key_start..][..sizes.state_size];
        let query = &channels[key_start + keys..][..sizes.state_size];
        let [least, largest] = shared.limits;
        let step = softplus(steps[head]).max(least).min(largest);
        move_on(memory, [key, query], input, step, (step * shared.rates[head]).exp(), read);
        read.iter_mut().zip(input).for_each(|(read, input)| *read += shared.skips[head] * input);
    }
    read
}

/// ln(1 + eˣ), exact for small results too.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

for_each_processor! {
    /// Moves the memory of a head on by one token, and reads it.
    pub fn move_on(memory: &mut [f32], pair: [&[f32]; 2], input: &[f32], step: f32, decay: f32, read: &mut [f32]) { move_on_inner }
}

#[inline(always)]
fn move_on_inner(
    memory: &mut [f32],
    [key, query]: [&[f32]; 2],
    input: &[f32],
    step: f32,
    decay: f32,
    read: &mut [f32],
) {
    let (keys, last_keys) = key.as_chunks::<LANES>();
    let (queries, last_queries) = query.as_chunks::<LANES>();
    for ((row, input), read) in memory.chunks_exact_mut(key.len()).zip(input).zip(read) {
        let written = step * input;
        let (blocks, last) = row.as_chunks_mut::<LANES>();
        let mut sums = [0f32; LANES];
        for ((block, key), query) in blocks.iter_mut().zip(keys).zip(queries) {
            for lane in 0..LANES {
                block[lane] = block[lane] * decay + written * key[lane];
                sums[lane] += block[lane] * query[lane];
            }
        }
        let mut sum: f32 = sums.iter().sum();
        for ((value, key), query) in last.iter_mut().zip(last_keys).zip(last_queries) {
            *value = *value * decay + written * key;
            sum += *value * query;
        }
        *read = sum;
    }
}

/// As many values as a wide register holds.
const LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: SpaceSizes = SpaceSizes { heads: 4, head_size: 3, state_size: 21, groups: 2, taps: 3 };

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|place| (place as f32 * 1.7 + seed).sin()).collect()
    }

    #[test]
    fn a_sequence_may_come_in_parts() {
        let (tokens, channels) = (5, SIZES.channels());
        let (inputs, steps) = (numbers(tokens * channels, 0.0), numbers(tokens * 4, 1.0));
        let (filters, bias) = (numbers(channels * SIZES.taps, 2.0), numbers(channels, 3.0));
        let filters = Filters { values: &filters, bias: Some(&bias), taps: SIZES.taps };
        let rates = [-1.0, -0.5, -2.0, -0.1];
        let shared = Shared { filters, rates: &rates, skips: &[0.5, -1.0, 2.0, 0.0], limits: [0.6, 0.9] };
        let part = |from: usize, to: usize| SpaceTokens {
            inputs: &inputs[from * channels..to * channels],
            steps: &steps[from * 4..to * 4],
        };
        let whole = run(SIZES, shared, part(0, tokens), &mut RecurrentState::new(SIZES.state()));
        for cut in 1..tokens {
            let mut state = RecurrentState::new(SIZES.state());
            let first = run(SIZES, shared, part(0, cut), &mut state);
            let second = run(SIZES, shared, part(cut, tokens), &mut state);
            assert_eq!([first, second].concat(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn heads_of_a_group_share_its_key() {
        assert_eq!([0, 1, 2, 3].map(|head| SIZES.key_of(head)), [12, 12, 33, 33]);
    }

    #[test]
    fn a_memory_returns_what_was_written() {
        // One channel each, and filters of 1: Δ = ln 2 at a step of 0.
        let sizes = SpaceSizes { heads: 1, head_size: 1, state_size: 1, groups: 1, taps: 1 };
        let filters = Filters { values: &[1.0; 3], bias: None, taps: 1 };
        let shared = Shared { filters, rates: &[-1.0], skips: &[3.0], limits: [0.0, f32::INFINITY] };
        let tokens = SpaceTokens { inputs: &[2.0, 1.0, 1.5, 0.0, 1.0, 1.5], steps: &[0.0, 0.0] };
        let read = run(sizes, shared, tokens, &mut RecurrentState::new(sizes.state()));
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let memory = 2f32.ln() * silu(2.0) * silu(1.0);
        let expected = [memory * silu(1.5) + 3.0 * silu(2.0), memory / 2.0 * silu(1.5)];
        assert!(read.iter().zip(expected).all(|(read, wanted)| (read - wanted).abs() < 1e-6), "{read:?}");
    }

    #[test]
    fn small_steps_keep_their_digits() {
        assert!((f64::from(softplus(-12.0)) / f64::exp(-12.0).ln_1p() - 1.0).abs() < 1e-6);
        assert_eq!(softplus(30.0), 30.0);
    }
}
