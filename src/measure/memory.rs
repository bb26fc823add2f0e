//! The memory budget: how much of it weights, streams, caches and the values inside a layer take, and so how many tokens go
//! through the layers together.

use std::ops::Range;

use candle_core::Device;

use crate::error::{ComputeError, MetricError, Result};
use crate::kernel::Arithmetic;
use crate::kernel::device::is_ours;
use crate::model::{AdaptedModel, Model};
use crate::samples::Sample;

const F32: u64 = size_of::<f32>() as u64;

/// With this many tokens in a pass, reading the weights takes far less time than using them.
const PASS_TOKENS: usize = 2048;

/// As [`PASS_TOKENS`] on a GPU, which wants large products and starts each operation anew.
const GPU_PASS_TOKENS: usize = 16_384;

/// The sweep may keep this share of the memory for what it would otherwise compute or read again.
const KEPT_SHARE: u64 = 4;

/// Hidden states that each token of a prompt takes, beside the values inside a layer.
const PROMPT_STATES: u64 = 4;

/// How much more the values inside a layer take where each is kept, beside its gradient.
const GRADIENT_SHARE: u64 = 3;

pub struct Budget {
    /// All bytes that may be taken.
    memory: u64,
    /// What is taken in any case: one layer in f32 with its stored form while it is widened, and what is kept.
    taken: u64,
    /// What [`keep_states`](Self::keep_states) and [`keep_layers`](Self::keep_layers) may still take.
    keepable: u64,
    streams: u64,
    /// Per token: the hidden states of all streams.
    stream_bytes: u64,
    /// Per token of a stream that goes through a layer: the values between its two hidden states.
    inner_bytes: u64,
    /// One hidden state of one token.
    row_bytes: u64,
    /// Per token of a stream: the keys and values of all layers.
    cache_bytes: u64,
    /// Per stream of a sequence: the states of the layers that keep no keys.
    state_bytes: u64,
    /// The tokens of the longest sample; of the largest pass, once it is planned.
    longest: usize,
    /// The tokens of a pass that more memory would not change.
    most_tokens: usize,
}

impl Budget {
    pub fn new(model: &Model, streams: usize, memory: u64) -> Self {
        let config = &model.config;
        // With experts each stream keeps their inputs and, for a while, up to twice as many of their outputs.
        let states = if config.experts.is_some() { 4 * streams } else { streams };
        let mixer = config.other_mixer.map_or(0, |sizes| sizes.inner_values());
        let widest = |of: &dyn Fn(usize) -> usize| (0..config.layers).map(of).max().unwrap_or(0);
        let (query_size, mlp_size) =
            (widest(&|layer| config.query_size(layer)), widest(&|layer| config.by_layer.mlp_sizes[layer]));
        // What a row carries is divided from its hidden state, and joined to it again.
        let carried = config.carried_before(config.layers);
        // All states of a token, where it has several, come in twice more: predicted and corrected.
        let further = 3 * (config.states_size() - config.hidden_size);
        // Inputs and outputs of products in two parts, both at once.
        let split = if model.arithmetic() == Arithmetic::Tf32x2 { 4 * mlp_size } else { 0 };
        let widths = split + 4 * mlp_size + 6 * config.hidden_size + further + 4 * query_size + mixer + 2 * carried;
        // All streams share the inputs of layers that tokens have.
        let inputs = config.per_layer.map_or(0, |sizes| sizes.size * config.layers);
        Self {
            memory,
            taken: 2 * model.layer_bytes() + model.listed_bytes(),
            keepable: memory / KEPT_SHARE,
            streams: streams as u64,
            stream_bytes: (states * (config.states_size() + carried) + inputs) as u64 * F32,
            inner_bytes: widths as u64 * F32,
            row_bytes: (config.states_size() + carried) as u64 * F32,
            cache_bytes: config.cached_values() as u64 * F32,
            state_bytes: config.state_values() as u64 * F32,
            longest: 0,
            most_tokens: if is_ours(model.device()) { PASS_TOKENS } else { GPU_PASS_TOKENS },
        }
    }

    /// A budget for passes of samples, the longest of which has to fit.
    pub fn for_samples(model: &Model, streams: usize, memory: u64, samples: &[Sample]) -> Result<Self> {
        let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
        let budget = Self { longest, ..Self::new(model, streams, memory) };
        match budget.least() {
            needed if needed > memory => Err(ComputeError::Memory { needed, budget: memory }.into()),
            _ => Ok(budget),
        }
    }

    /// A budget for passes of samples there and back: the inputs of all layers are kept, and so are all values inside one of them, with
    /// their gradients.
    pub fn for_gradients(model: &Model, memory: u64, samples: &[Sample]) -> Result<Self> {
        let kept = Self::for_samples(model, model.config.layers + 2, memory, samples)?;
        let memories = model.config.other_mixer.map_or(0, |sizes| sizes.gradient_values());
        let inner_bytes = GRADIENT_SHARE * kept.inner_bytes + memories as u64 * F32;
        let budget = Self { inner_bytes, ..kept };
        match budget.least() {
            needed if needed > memory => Err(ComputeError::Memory { needed, budget: memory }.into()),
            _ => Ok(budget),
        }
    }

    /// The bytes that a pass of the longest sample takes, with one stream at a time inside a layer.
    fn least(&self) -> u64 {
        self.taken + self.longest as u64 * (self.stream_bytes + self.inner_bytes)
    }

    /// The bytes that are not taken.
    fn free(&self) -> u64 {
        self.memory.saturating_sub(self.taken)
    }

    /// The tokens that one pass may hold.
    pub fn tokens_per_pass(&self) -> usize {
        let fitting = self.free() / (self.stream_bytes + self.inner_bytes);
        usize::try_from(fitting).unwrap_or(usize::MAX).min(self.most_tokens).max(self.longest)
    }

    /// The streams that may be inside a layer at the same time: all of them, as a rule.
    pub fn streams_side_by_side(&self, tokens: usize, device: &Device) -> usize {
        if !is_ours(device) {
            return 1;
        }
        let left = self.free().saturating_sub(tokens as u64 * self.stream_bytes);
        let fitting = left / (tokens as u64 * self.inner_bytes).max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).max(1)
    }

    /// How many hidden states of single tokens, each there twice for a moment, fit beside a pass of `tokens` with
    /// `inside` streams inside a layer.
    pub fn spare_rows(&self, tokens: usize, inside: usize) -> usize {
        let left = self.free().saturating_sub(tokens as u64 * (self.stream_bytes + inside as u64 * self.inner_bytes));
        usize::try_from(left / (2 * self.row_bytes)).unwrap_or(usize::MAX)
    }

    /// Keeps memory free for passes of so many tokens.
    pub fn plan(&mut self, largest_pass: usize) {
        self.longest = self.longest.max(largest_pass);
    }

    /// Sets memory aside for hidden states of `tokens` tokens, and says for how many: as many as there are streams, if there is
    /// enough of it.
    pub fn keep_states(&mut self, tokens: usize) -> usize {
        let each = (tokens as u64 * self.row_bytes).max(1);
        let left = self.keepable.min(self.memory.saturating_sub(self.least()));
        let count = self.streams.min(left / each);
        self.set_aside(count * each);
        count as usize
    }

    /// Sets memory aside for all layers, if there is enough of it.
    pub fn keep_layers(&mut self, model: &Model) -> bool {
        self.set_aside(model.config.layers as u64 * model.kept_layer_bytes())
    }

    fn set_aside(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.keepable && self.least() + bytes <= self.memory;
        if fits {
            self.keepable -= bytes;
            self.taken += bytes;
        }
        fits
    }

    /// Sets memory aside for all layers, the head and the adapter, if half of the memory remains: prompts can come in
    /// batches, but without their weights in memory every token reads all of them again.
    pub fn keep_model(&mut self, adapted: &AdaptedModel) -> Result<bool> {
        let model = adapted.model();
        let head = adapted.head_size()? as u64 * self.row_bytes;
        let bytes =
            model.config.layers as u64 * model.kept_layer_bytes() + head + adapted.adapter().bytes_below(usize::MAX);
        let fits = self.taken + bytes <= self.memory / 2;
        if fits {
            self.taken += bytes;
        }
        Ok(fits)
    }

    /// Divides prompts of these lengths into runs that are answered together. `cached` is how many tokens a prompt of a
    /// length may have in the cache in the end.
    pub fn prompt_batches(&self, lengths: &[usize], cached: impl Fn(usize) -> usize) -> Result<Vec<Range<usize>>> {
        let mut batches: Vec<Range<usize>> = Vec::new();
        let mut size = 0;
        for (index, &length) in lengths.iter().enumerate() {
            let inner = length as u64 * (PROMPT_STATES * self.row_bytes + self.inner_bytes);
            let needed = self.streams * (cached(length) as u64 * self.cache_bytes + self.state_bytes + inner);
            if needed > self.free() {
                let needed = self.memory.saturating_add(needed - self.free());
                return Err(MetricError::Memory { needed, budget: self.memory }.into());
            }
            size += needed;
            match batches.last_mut() {
                Some(batch) if size <= self.free() => batch.end += 1,
                _ => {
                    batches.push(index..index + 1);
                    size = needed;
                }
            }
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of prompts that are answered with 10 tokens at most, in a context of 14, where `free` of 1000 bytes are left.
    fn batches(free: u64, lengths: &[usize]) -> Result<Vec<Range<usize>>> {
        let budget = Budget {
            memory: 1000,
            taken: 1000 - free,
            keepable: 0,
            streams: 2,
            stream_bytes: 2,
            inner_bytes: 1,
            row_bytes: 1,
            cache_bytes: 3,
            state_bytes: 0,
            longest: 0,
            most_tokens: PASS_TOKENS,
        };
        budget.prompt_batches(lengths, |length| (length + 10).min(14))
    }

    #[test]
    fn batches_are_as_large_as_memory_allows() {
        // Each of them needs 2 · ((4 + 10) · 3 + 4 · 5) = 124 bytes.
        assert_eq!(batches(400, &[4; 7]).unwrap(), [0..3, 3..6, 6..7]);
        // A prompt of 6 comes to 2 · (14 · 3 + 6 · 5): the context is full then.
        assert_eq!(batches(144, &[6]).unwrap().len(), 1);
        assert!(batches(143, &[6]).is_err());
        assert_eq!(batches(124, &[4, 4]).unwrap(), [0..1, 1..2]);
        assert!(batches(100, &[]).unwrap().is_empty());
    }

    #[test]
    fn a_prompt_that_does_not_fit_says_what_it_needs() {
        let error = batches(100, &[4]).unwrap_err();
        assert!(error.to_string().contains("1024 bytes"), "{error}");
    }
}
