//! The completions of a batch of prompts with one profile, while they grow.

use std::ops::Range;

use super::generation::Completion;
use super::stream::{Evaluation, Stream};
use crate::error::Result;
use crate::model::{AdaptedModel, Cache, Model, Pass};
use crate::samples::Prompt;
use crate::samples::batch::Batch;

pub struct Decoding<'a> {
    evaluation: Evaluation<'a>,
    cache: Cache,
    completions: Vec<PartialCompletion<'a>>,
}

/// A prompt and its answer so far.
struct PartialCompletion<'a> {
    prompt: &'a Prompt,
    ids: Vec<u32>,
    /// How many of the tokens have gone through the layers: their keys and values are in the cache.
    through: usize,
    /// The first place in the cache.
    place: usize,
    /// The most tokens, with the prompt.
    most: usize,
    stopped: bool,
}

/// The most tokens that a prompt of `length` tokens and its answer may come to.
pub fn most_tokens(length: usize, max_new_tokens: usize, model: &Model) -> usize {
    (length + max_new_tokens).min(model.longest_sequence()).max(length)
}

impl PartialCompletion<'_> {
    fn is_running(&self) -> bool {
        !self.stopped && self.ids.len() < self.most
    }
}

impl<'a> Decoding<'a> {
    pub fn new(evaluation: Evaluation<'a>, prompts: &'a [Prompt], max_new_tokens: usize, model: &Model) -> Self {
        let mut places = 0;
        let completions = prompts.iter().map(|prompt| {
            let most = most_tokens(prompt.ids.len(), max_new_tokens, model);
            let place = places;
            places += most;
            PartialCompletion { prompt, ids: prompt.ids.clone(), through: 0, place, most, stopped: false }
        });
        let completions = completions.collect();
        Self { evaluation, cache: Cache::new(model.config.layers, places), completions }
    }

    pub fn is_running(&self) -> bool {
        self.completions.iter().any(PartialCompletion::is_running)
    }

    /// The tokens of unfinished completions that have not gone through the layers.
    pub fn next_batch(&mut self, model: &Model) -> Batch {
        for completion in self.completions.iter_mut().filter(|completion| completion.is_running()) {
            let new = completion.through..completion.ids.len();
            // Beyond some length all rotary angles change, which makes the cached keys useless (as in `modeling_phi3.py`).
            if model.turns_anew_beyond().is_some_and(|length| new.contains(&length)) {
                completion.through = 0;
            }
        }
        Batch::growing(self.running().map(|completion| (completion.ids.as_slice(), completion.through)))
    }

    /// The places in the cache of all tokens of unfinished completions.
    pub fn places(&self) -> Vec<Range<usize>> {
        self.running().map(|completion| completion.place..completion.place + completion.ids.len()).collect()
    }

    fn running(&self) -> impl Iterator<Item = &PartialCompletion<'a>> {
        self.completions.iter().filter(|completion| completion.is_running())
    }

    /// The stream of the pass of the next batch.
    pub fn stream<'s>(&'s mut self, pass: &'s Pass<'s>, adapted: &AdaptedModel) -> Result<Stream<'s>> {
        let hidden = adapted.first_hidden(pass.batch)?;
        let stream = Stream::new(pass, self.evaluation.adapter, vec![self.evaluation], hidden);
        Ok(Stream { cache: Some(&mut self.cache), ..stream })
    }

    /// Adds the next token of each unfinished completion.
    pub fn add(&mut self, tokens: &[u32]) {
        let running = self.completions.iter_mut().filter(|completion| completion.is_running());
        for (completion, &token) in running.zip(tokens) {
            completion.through = completion.ids.len();
            completion.ids.push(token);
            completion.stopped = completion.prompt.stops.contains(&token);
        }
    }

    pub fn into_completions(self) -> impl Iterator<Item = Completion> {
        self.completions.into_iter().map(|mut completion| Completion {
            ids: completion.ids.split_off(completion.prompt.ids.len()),
            stopped: completion.stopped,
        })
    }
}
