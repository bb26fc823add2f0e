//! What mixers without attention share: a state of fixed size in the place of keys and values, and a convolution over the last
//! tokens.

/// How much a state holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSizes {
    /// The inputs of the convolution that are kept: (taps − 1) · channels.
    pub inputs: usize,
    /// All memories of all heads.
    pub memories: usize,
}

impl StateSizes {
    pub fn values(self) -> usize {
        self.inputs + self.memories
    }
}

/// What is left of the tokens before: the last inputs of the convolution, (taps − 1, channels), and memories in the mixer's order.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    pub inputs: Vec<f32>,
    pub memories: Vec<f32>,
}

impl RecurrentState {
    /// The state before the first token.
    pub fn new(sizes: StateSizes) -> Self {
        Self { inputs: vec![0.0; sizes.inputs], memories: vec![0.0; sizes.memories] }
    }
}

/// The sizes of a short convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionSizes {
    pub channels: usize,
    /// The tokens that a token sees, itself included.
    pub taps: usize,
}

impl ConvolutionSizes {
    pub fn state(self) -> StateSizes {
        StateSizes { inputs: (self.taps - 1) * self.channels, memories: 0 }
    }
}

/// The filters of a causal convolution of each channel by itself.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// (channels, taps); the last tap is that of the current token.
    pub values: &'a [f32],
    /// (channels)
    pub bias: Option<&'a [f32]>,
    pub taps: usize,
}

/// The convolution of inputs, (tokens, channels) → the same. `before` are the inputs before the first token, and become those
/// before the next one.
pub fn convolve(filters: Filters, inputs: &[f32], before: &mut Vec<f32>) -> Vec<f32> {
    let taps = filters.taps;
    let channels = filters.values.len() / taps;
    let all = [before.as_slice(), inputs].concat();
    let mut mixed = vec![0.0; inputs.len()];
    for (token, mixed) in mixed.chunks_exact_mut(channels).enumerate() {
        if let Some(bias) = filters.bias {
            mixed.copy_from_slice(bias);
        }
        for tap in 0..taps {
            let seen = &all[(token + tap) * channels..][..channels];
            for ((mixed, seen), filter) in mixed.iter_mut().zip(seen).zip(filters.values.chunks_exact(taps)) {
                *mixed += seen * filter[tap];
            }
        }
    }
    *before = all[all.len() - (taps - 1) * channels..].to_vec();
    mixed
}

/// x · sigmoid(x) of each value, in place.
pub fn silu(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value /= 1.0 + (-*value).exp());
}
