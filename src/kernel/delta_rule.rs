//! The gated delta rule: attention whose memory has a fixed size, so that it takes the same time for every token.
//!
//! A head keeps a matrix S of (key size, value size). Each token lets it decay, corrects what the token's key reads from it towards
//! the token's value, and reads it with the token's query:
//!
//! ```text
//! S ← e^g · S
//! S ← S + k ⊗ β·(v − Sᵀk)
//! y = Sᵀq
//! ```
//!
//! Source: `torch_recurrent_gated_delta_rule` in `modeling_qwen3_5.py` of transformers 5.24; arXiv 2412.06464.

use super::recurrent::{self, Filters, RecurrentState, StateSizes};

/// The sizes of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaSizes {
    pub key_heads: usize,
    pub value_heads: usize,
    pub key_size: usize,
    pub value_size: usize,
    /// The tokens that the convolution before the heads sees, the current one included.
    pub taps: usize,
}

impl DeltaSizes {
    /// Queries, keys and values of a token, one after the other.
    pub fn channels(self) -> usize {
        2 * self.key_heads * self.key_size + self.values()
    }

    pub fn values(self) -> usize {
        self.value_heads * self.value_size
    }

    /// Memories are (value_heads, key_size, value_size).
    pub fn state(self) -> StateSizes {
        StateSizes { inputs: (self.taps - 1) * self.channels(), memories: self.values() * self.key_size }
    }
}

/// The tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct DeltaTokens<'a> {
    /// (tokens, channels)
    pub inputs: &'a [f32],
    /// ln of the decay, and β: (tokens, value_heads)
    pub decays: &'a [f32],
    pub writes: &'a [f32],
}

/// Runs the tokens of a sequence behind a state, which it moves on: (tokens, value_heads · value_size). `filters` are those of the
/// convolution, (channels, taps).
pub fn run(sizes: DeltaSizes, filters: &[f32], tokens: DeltaTokens, state: &mut RecurrentState) -> Vec<f32> {
    let filters = Filters { values: filters, bias: None, taps: sizes.taps };
    let mut mixed = recurrent::convolve(filters, tokens.inputs, &mut state.inputs);
    recurrent::silu(&mut mixed);
    let count = mixed.len() / sizes.channels();
    let mut read = vec![0.0; count * sizes.values()];
    let mut error = vec![0.0; sizes.value_size];
    for (head, memory) in state.memories.chunks_exact_mut(sizes.key_size * sizes.value_size).enumerate() {
        for token in 0..count {
            let own = Head { sizes, head, token };
            let (query, key) = (own.unit(&mixed, 0), own.unit(&mixed, 1));
            let decay = tokens.decays[token * sizes.value_heads + head].exp();
            error.copy_from_slice(own.value(&mixed));
            for (row, &key) in memory.chunks_exact_mut(sizes.value_size).zip(&key) {
                row.iter_mut().for_each(|value| *value *= decay);
                error.iter_mut().zip(&*row).for_each(|(error, value)| *error -= key * value);
            }
            let write = tokens.writes[token * sizes.value_heads + head];
            error.iter_mut().for_each(|error| *error *= write);
            let start = token * sizes.values() + head * sizes.value_size;
            let out = &mut read[start..start + sizes.value_size];
            let scale = 1.0 / (sizes.key_size as f32).sqrt();
            for ((row, &key), &query) in memory.chunks_exact_mut(sizes.value_size).zip(&key).zip(&query) {
                row.iter_mut().zip(&error).for_each(|(value, error)| *value += key * error);
                out.iter_mut().zip(&*row).for_each(|(out, value)| *out += query * scale * value);
            }
        }
    }
    read
}

/// One head of one token.
struct Head {
    sizes: DeltaSizes,
    head: usize,
    token: usize,
}

impl Head {
    /// The query (`part` 0) or the key (1), at length 1. Several value heads, one after the other, share one of them.
    fn unit(&self, mixed: &[f32], part: usize) -> Vec<f32> {
        let DeltaSizes { key_heads, value_heads, key_size, .. } = self.sizes;
        let place = self.head * key_heads / value_heads;
        let start = self.token * self.sizes.channels() + (part * key_heads + place) * key_size;
        let values = &mixed[start..start + key_size];
        let square: f32 = values.iter().map(|value| value * value).sum();
        let inverse = 1.0 / (square + 1e-6).sqrt();
        values.iter().map(|value| value * inverse).collect()
    }

    fn value<'a>(&self, mixed: &'a [f32]) -> &'a [f32] {
        let DeltaSizes { key_heads, key_size, value_size, .. } = self.sizes;
        let start = self.token * self.sizes.channels() + 2 * key_heads * key_size + self.head * value_size;
        &mixed[start..start + value_size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: DeltaSizes = DeltaSizes { key_heads: 1, value_heads: 2, key_size: 3, value_size: 2, taps: 3 };

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|place| (place as f32 * 1.7 + seed).sin()).collect()
    }

    #[test]
    fn a_sequence_may_come_in_parts() {
        let tokens = 5;
        let inputs = numbers(tokens * SIZES.channels(), 0.0);
        let (decays, writes) = (numbers(tokens * 2, 1.0), numbers(tokens * 2, 2.0));
        let filters = numbers(SIZES.channels() * SIZES.taps, 3.0);
        let part = |from: usize, to: usize| DeltaTokens {
            inputs: &inputs[from * SIZES.channels()..to * SIZES.channels()],
            decays: &decays[from * 2..to * 2],
            writes: &writes[from * 2..to * 2],
        };
        let whole = run(SIZES, &filters, part(0, tokens), &mut RecurrentState::new(SIZES.state()));
        for cut in 1..tokens {
            let mut state = RecurrentState::new(SIZES.state());
            let first = run(SIZES, &filters, part(0, cut), &mut state);
            let second = run(SIZES, &filters, part(cut, tokens), &mut state);
            assert_eq!([first, second].concat(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn the_memory_returns_what_was_written() {
        // One key of length 1, no decay, β = 1: the memory holds the value itself.
        let sizes = DeltaSizes { key_heads: 1, value_heads: 1, key_size: 1, value_size: 2, taps: 1 };
        let tokens = DeltaTokens { inputs: &[9.0, 9.0, 3.0, -2.0], decays: &[0.0], writes: &[1.0] };
        let read = run(sizes, &[1.0; 4], tokens, &mut RecurrentState::new(sizes.state()));
        let silu = |x: f32| x / (1.0 + (-x).exp());
        for (read, value) in read.iter().zip([3.0f32, -2.0]) {
            assert!((read - silu(value)).abs() < 1e-5, "{read}");
        }
    }
}
