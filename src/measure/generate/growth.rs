//! The answers of one profile to a batch of prompts, while they grow.

use std::ops::Range;

use candle_core::{DType, Result as TensorResult, Tensor};

use super::{ADAPTER, Generated};
use crate::error::Result;
use crate::measure::layers::AdaptedLayer;
use crate::measure::walk::Stream;
use crate::measure::{Profile, Strength};
use crate::model::{AdaptedModel, Cache, Model, Pass};
use crate::samples::Prompt;
use crate::samples::packing::Batch;

pub struct Growth<'a> {
    profile: &'a Profile,
    pub stream: Stream,
    cache: Cache,
    sequences: Vec<Sequence<'a>>,
}

/// A prompt and what of its answer is there.
struct Sequence<'a> {
    prompt: &'a Prompt,
    ids: Vec<u32>,
    /// How many of them have gone through the layers: their keys and values are in the cache.
    through: usize,
    /// Its first place in the cache.
    place: usize,
    /// The most tokens, with the prompt.
    most: usize,
    stopped: bool,
}

impl Sequence<'_> {
    fn is_running(&self) -> bool {
        !self.stopped && self.ids.len() < self.most
    }
}

impl<'a> Growth<'a> {
    pub fn new(
        ends: &AdaptedModel,
        profile: &'a Profile,
        prompts: &'a [Prompt],
        max_new_tokens: usize,
    ) -> Result<Self> {
        let (model, mut places) = (ends.model(), 0);
        let sequences = prompts.iter().map(|prompt| {
            let most = (prompt.ids.len() + max_new_tokens).min(model.longest_sequence());
            let place = places;
            places += most.max(prompt.ids.len());
            Sequence { prompt, ids: prompt.ids.clone(), through: 0, place, most, stopped: false }
        });
        let sequences = sequences.collect();
        let hidden = Tensor::zeros((1, model.config.hidden_size), DType::F32, model.device())?;
        Ok(Self {
            profile,
            stream: Stream::with(ADAPTER, Strength::NONE, hidden),
            cache: Cache::new(model.config.layers, places),
            sequences,
        })
    }

    pub fn is_running(&self) -> bool {
        self.sequences.iter().any(Sequence::is_running)
    }

    /// The tokens of unfinished sequences that have not gone through the layers.
    pub fn next_rows(&mut self, model: &Model) -> Batch {
        for sequence in self.sequences.iter_mut().filter(|sequence| sequence.is_running()) {
            // Where all angles change with the length, keys that were turned before are of no use (as `modeling_phi3.py`).
            if model.cache_limit().is_some_and(|length| (sequence.through..sequence.ids.len()).contains(&length)) {
                sequence.through = 0;
            }
        }
        Batch::growing(self.running().map(|sequence| (sequence.ids.as_slice(), sequence.through)))
    }

    /// The places of their tokens in the cache.
    pub fn places(&self) -> Vec<Range<usize>> {
        self.running().map(|sequence| sequence.place..sequence.place + sequence.ids.len()).collect()
    }

    fn running(&self) -> impl Iterator<Item = &Sequence<'a>> {
        self.sequences.iter().filter(|sequence| sequence.is_running())
    }

    /// Goes through a layer, but for its experts.
    pub fn advance(&mut self, layer: &AdaptedLayer, pass: &Pass, index: usize) -> TensorResult<()> {
        let cache = Some(self.cache.layer(index));
        self.stream.strength = self.profile.at(index);
        (self.stream.hidden, self.stream.routed) = layer.of(&self.stream).forward(&self.stream.hidden, pass, cache)?;
        Ok(())
    }

    /// Takes in the next word of each unfinished sequence.
    pub fn add(&mut self, words: &[u32]) {
        let running = self.sequences.iter_mut().filter(|sequence| sequence.is_running());
        for (sequence, &word) in running.zip(words) {
            sequence.through = sequence.ids.len();
            sequence.ids.push(word);
            sequence.stopped = sequence.prompt.stops.contains(&word);
        }
    }

    pub fn into_answers(self) -> impl Iterator<Item = Generated> {
        self.sequences.into_iter().map(|mut sequence| Generated {
            ids: sequence.ids.split_off(sequence.prompt.ids.len()),
            stopped: sequence.stopped,
        })
    }
}
