//! Greedy generation: the answers of the model with some profiles of an adapter, all of them side by side, batch by batch.
//!
//! The tokens of a prompt go through the layers once, then one token of each unfinished answer at a time; a cache has the
//! keys and values of all tokens before. Prompts are not padded. Each profile is a stream, so that each weight is read once
//! per step for all of them, or once in all where the whole model fits into memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::layers::{Keep, Layers};
use super::memory::Budget;
use super::stream::{Member, Stream};
use super::walk::{Tracker, Walk};
use super::{Activity, OnProgress, Profile};
use crate::error::Result;
use crate::model::{AdaptedModel, Cache, HeadCache, Model, Pass};
use crate::samples::Prompt;
use crate::samples::packing::Batch;

/// Whether tokens of an answer hold a text that ends it.
pub type IsEnded<'a> = &'a dyn Fn(&[u32]) -> bool;

/// How to generate.
#[derive(Clone)]
pub struct GenerateOptions<'a> {
    /// The bytes that weights, keys, values and intermediate values may take together.
    pub memory: u64,
    /// The most tokens of an answer. The model's context limits it too.
    pub max_new_tokens: usize,
    /// What ends an answer besides the prompt's stops.
    pub is_ended: Option<IsEnded<'a>>,
}

/// An answer to a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Its tokens, with the one that ends it.
    pub ids: Vec<u32>,
    /// Whether one of the prompt's stops, or a text, ended it, and not the limit.
    pub stopped: bool,
}

/// Answers every prompt with every profile: `[profile][prompt]`. Each token is the likeliest one, of equally likely ones
/// the first.
pub fn generate(
    adapted: &AdaptedModel,
    prompts: &[Prompt],
    profiles: &[Profile],
    options: &GenerateOptions,
    on_progress: OnProgress,
) -> Result<Vec<Vec<Completion>>> {
    let (model, models) = (adapted.model(), [adapted]);
    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.ids.len()).collect();
    let mut budget = Budget::new(model, profiles.len(), options.memory);
    let keeps_model = budget.keep_model(adapted)?;
    let batches = budget.prompt_batches(&lengths, |length| most_tokens(length, options.max_new_tokens, model))?;
    let layer_tokens =
        |length: &usize| ((length + options.max_new_tokens) * model.config.layers * profiles.len()) as u64;
    let mut tracker =
        Tracker::new(Activity::Answers, batches.len(), lengths.iter().map(layer_tokens).sum(), on_progress);
    let mut layers = Layers::new(&models, if keeps_model { Keep::Variants } else { Keep::Nothing });
    let mut head = keeps_model.then(HeadCache::default);
    let mut answers = vec![Vec::with_capacity(prompts.len()); profiles.len()];
    for (pass, batch) in batches.into_iter().enumerate() {
        tracker.start_pass(pass);
        // Answers may have ended before their limit.
        tracker.progress.done = lengths[..batch.start].iter().map(layer_tokens).sum();
        let mut decodings: Vec<Decoding> = Member::of_profiles(0, profiles)
            .map(|member| Decoding::new(member, &prompts[batch.clone()], options.max_new_tokens, model))
            .collect();
        while decodings.iter().any(Decoding::is_running) {
            let mut running: Vec<&mut Decoding> =
                decodings.iter_mut().filter(|decoding| decoding.is_running()).collect();
            let next = next_tokens(&mut running, adapted, &mut layers, head.as_mut(), &mut tracker)?;
            running.into_iter().zip(next).for_each(|(decoding, tokens)| decoding.add(&tokens, options.is_ended));
        }
        for (answers, decoding) in answers.iter_mut().zip(decodings) {
            answers.extend(decoding.into_completions());
        }
    }
    Ok(answers)
}

/// The next token of every unfinished answer, by decoding.
fn next_tokens<'m>(
    running: &mut [&mut Decoding],
    adapted: &'m AdaptedModel<'m>,
    layers: &mut Layers<'m>,
    head: Option<&mut HeadCache>,
    tracker: &mut Tracker,
) -> Result<Vec<Vec<u32>>> {
    let model = adapted.model();
    let batches: Vec<Batch> = running.iter_mut().map(|decoding| decoding.next_batch(model)).collect();
    let places = running.iter().map(|decoding| decoding.places());
    let passes = batches.iter().zip(places).map(|(batch, places)| Pass::through_caches(model, batch, places));
    let passes = passes.collect::<Result<Vec<_>>>()?;
    let streams = running.iter_mut().zip(&passes).map(|(decoding, pass)| decoding.stream(pass, adapted));
    let streams = BTreeMap::from([(0, streams.collect::<Result<Vec<_>>>()?)]);
    let mut rows = Vec::new();
    Walk { layers, side_by_side: passes.len(), tracker }.run(streams, |layers, streams| {
        if layers == model.config.layers {
            let of_stream = |stream: &Stream| adapted.answer_rows(&stream.hidden, stream.pass, layers);
            rows = streams.iter().map(of_stream).collect::<Result<_>>()?;
        }
        Ok(())
    })?;
    adapted.likeliest(&rows, head)
}

/// The completions of a batch of prompts with one profile, while they grow.
struct Decoding<'a> {
    member: Member<'a>,
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
fn most_tokens(length: usize, max_new_tokens: usize, model: &Model) -> usize {
    (length + max_new_tokens).min(model.longest_sequence()).max(length)
}

impl PartialCompletion<'_> {
    fn is_running(&self) -> bool {
        !self.stopped && self.ids.len() < self.most
    }
}

impl<'a> Decoding<'a> {
    fn new(member: Member<'a>, prompts: &'a [Prompt], max_new_tokens: usize, model: &Model) -> Self {
        let mut places = 0;
        let completions = prompts.iter().map(|prompt| {
            let most = most_tokens(prompt.ids.len(), max_new_tokens, model);
            let place = places;
            places += most;
            PartialCompletion { prompt, ids: prompt.ids.clone(), through: 0, place, most, stopped: false }
        });
        let completions = completions.collect();
        Self { member, cache: Cache::new(model.config.layers, places), completions }
    }

    fn is_running(&self) -> bool {
        self.completions.iter().any(PartialCompletion::is_running)
    }

    /// The tokens of unfinished completions that have not gone through the layers.
    fn next_batch(&mut self, model: &Model) -> Batch {
        for completion in self.completions.iter_mut().filter(|completion| completion.is_running()) {
            let new = completion.through..completion.ids.len();
            // Beyond some length all rotary angles change, which makes the cached keys useless (as in `modeling_phi3.py`).
            if model.cache_limit().is_some_and(|length| new.contains(&length)) {
                completion.through = 0;
            }
        }
        Batch::growing(self.running().map(|completion| (completion.ids.as_slice(), completion.through)))
    }

    /// The places in the cache of all tokens of unfinished completions.
    fn places(&self) -> Vec<Range<usize>> {
        self.running().map(|completion| completion.place..completion.place + completion.ids.len()).collect()
    }

    fn running(&self) -> impl Iterator<Item = &PartialCompletion<'a>> {
        self.completions.iter().filter(|completion| completion.is_running())
    }

    /// The stream of the pass of the next batch.
    fn stream<'s>(&'s mut self, pass: &'s Pass<'s>, adapted: &AdaptedModel) -> Result<Stream<'s>> {
        let hidden = adapted.first_hidden(pass.batch)?;
        let stream = Stream::new(pass, self.member.adapter, vec![self.member], hidden);
        Ok(Stream { cache: Some(&mut self.cache), ..stream })
    }

    /// Adds the next token of each unfinished completion.
    fn add(&mut self, tokens: &[u32], is_ended: Option<IsEnded>) {
        let running = self.completions.iter_mut().filter(|completion| completion.is_running());
        for (completion, &token) in running.zip(tokens) {
            completion.through = completion.ids.len();
            completion.ids.push(token);
            let answer = &completion.ids[completion.prompt.ids.len()..];
            completion.stopped =
                completion.prompt.stops.contains(&token) || is_ended.is_some_and(|is_ended| is_ended(answer));
        }
    }

    fn into_completions(self) -> impl Iterator<Item = Completion> {
        self.completions.into_iter().map(|mut completion| Completion {
            ids: completion.ids.split_off(completion.prompt.ids.len()),
            stopped: completion.stopped,
        })
    }
}
