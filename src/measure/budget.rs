//! How the memory that a sweep may take is shared out among weights, streams and what is inside a layer.

use candle_core::Device;

use crate::error::{ComputeError, Result};
use crate::model::Model;

const F32: u64 = size_of::<f32>() as u64;

/// Tokens of a pass beyond which reading the weights costs nothing against using them.
const PASS_TOKENS: usize = 2048;

/// The share of the memory that may hold what would otherwise be computed or read again.
const KEPT_SHARE: u64 = 12;

pub struct Budget {
    memory: u64,
    /// What may still be set aside.
    spare: u64,
    /// One layer in f32, with its stored form while it is widened.
    weights: u64,
    /// Per token: the hidden states of all streams.
    stream_bytes: u64,
    /// Per token of a stream that goes through a layer: the values between its two hidden states.
    inner_bytes: u64,
    /// One hidden state of one token.
    row_bytes: u64,
    streams: u64,
}

impl Budget {
    pub fn new(model: &Model, streams: usize, memory: u64) -> Self {
        let config = &model.config;
        // With experts each stream keeps what they are given and, for a while, up to twice as much that they add.
        let states = if config.experts.is_some() { 4 * streams } else { streams };
        let widths = 4 * config.intermediate_size + 6 * config.hidden_size + 4 * config.query_size();
        Self {
            memory,
            spare: memory / KEPT_SHARE,
            weights: 2 * model.layer_bytes(),
            stream_bytes: (states * config.hidden_size) as u64 * F32,
            inner_bytes: widths as u64 * F32,
            row_bytes: config.hidden_size as u64 * F32,
            streams: streams as u64,
        }
    }

    /// Sets memory aside for as many hidden states of `tokens` tokens as there are streams, if there is enough of it.
    pub fn keep_streams(&mut self, tokens: usize, longest: usize) -> bool {
        self.set_aside(tokens as u64 * self.streams * self.row_bytes, longest)
    }

    /// Sets memory aside for all layers, if there is enough of it.
    pub fn keep_layers(&mut self, model: &Model, longest: usize) -> bool {
        self.set_aside(model.config.layers as u64 * model.kept_layer_bytes(), longest)
    }

    fn set_aside(&mut self, bytes: u64, longest: usize) -> bool {
        let fits = bytes <= self.spare && self.needed(longest) <= self.memory - bytes;
        if fits {
            self.spare -= bytes;
            self.memory -= bytes;
        }
        fits
    }

    /// The tokens that one pass may hold, given the longest sample, which has to fit.
    pub fn tokens_per_pass(&self, longest: usize) -> Result<usize> {
        let needed = self.needed(longest);
        if needed > self.memory {
            return Err(ComputeError::Memory { needed, budget: self.memory }.into());
        }
        let fitting = (self.memory - self.weights) / (self.stream_bytes + self.inner_bytes);
        Ok(usize::try_from(fitting).unwrap_or(PASS_TOKENS).min(PASS_TOKENS).max(longest))
    }

    /// How many hidden states of single tokens, each there twice for a moment, fit beside a pass of `tokens` with
    /// `inside` streams inside a layer.
    pub fn spare_rows(&self, tokens: usize, inside: usize) -> usize {
        let taken = self.weights + tokens as u64 * (self.stream_bytes + inside as u64 * self.inner_bytes);
        usize::try_from(self.memory.saturating_sub(taken) / (2 * self.row_bytes)).unwrap_or(usize::MAX)
    }

    fn needed(&self, tokens: usize) -> u64 {
        self.weights + tokens as u64 * (self.stream_bytes + self.inner_bytes)
    }

    /// The streams that may be inside a layer at the same time, and that is all of them as a rule.
    pub fn streams_side_by_side(&self, tokens: usize, device: &Device) -> usize {
        if !device.is_cpu() {
            return 1;
        }
        let spare = self.memory.saturating_sub(self.weights + tokens as u64 * self.stream_bytes);
        let fitting = spare / (tokens as u64 * self.inner_bytes).max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).max(1)
    }
}
