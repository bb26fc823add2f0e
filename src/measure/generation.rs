//! Greedy generation: the answers of the model with some profiles of an adapter, all of them side by side, batch by batch.
//!
//! The tokens of a prompt go through the layers once, then one token of each unfinished answer at a time; a cache has the
//! keys and values of all tokens before. Prompts are not padded. Each profile is a stream, so that each weight is read once
//! per step for all of them, or once in all where the whole model fits into memory.

use std::collections::BTreeMap;

use super::decoding::{Decoding, most_tokens};
use super::layers::{Keep, Layers};
use super::memory::Budget;
use super::stream::Evaluation;
use super::walk::{Tracker, Walk};
use super::{OnProgress, Profile};
use crate::error::Result;
use crate::model::{AdaptedModel, KeptHead, Pass};
use crate::samples::Prompt;
use crate::samples::batch::Batch;

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// The bytes that weights, keys, values and intermediate values may take together.
    pub memory: u64,
    /// The most tokens of an answer. The model's context limits it too.
    pub max_new_tokens: usize,
}

/// An answer to a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Its tokens, with the one that ends it.
    pub ids: Vec<u32>,
    /// Whether one of the prompt's stops ended it, and not the limit.
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
    let tracker = Tracker::new(batches.len(), lengths.iter().map(layer_tokens).sum(), on_progress);
    let mut generator = Generator {
        adapted,
        layers: Layers::new(&models, if keeps_model { Keep::Variants } else { Keep::Nothing }),
        head: keeps_model.then(KeptHead::default),
        tracker,
    };
    let mut answers = vec![Vec::with_capacity(prompts.len()); profiles.len()];
    for (pass, batch) in batches.into_iter().enumerate() {
        generator.tracker.start_pass(pass);
        // Answers may have ended before their limit.
        generator.tracker.progress.done = lengths[..batch.start].iter().map(layer_tokens).sum();
        let evaluations = profiles.iter().enumerate().map(|(index, profile)| Evaluation { adapter: 0, index, profile });
        let mut decodings: Vec<Decoding> = evaluations
            .map(|evaluation| Decoding::new(evaluation, &prompts[batch.clone()], options.max_new_tokens, model))
            .collect();
        while decodings.iter().any(Decoding::is_running) {
            generator.add_tokens(&mut decodings)?;
        }
        for (answers, decodings) in answers.iter_mut().zip(decodings) {
            answers.extend(decodings.into_completions());
        }
    }
    Ok(answers)
}

/// The model, with what is kept of it from one step to the next.
struct Generator<'a, 'p> {
    adapted: &'a AdaptedModel<'a>,
    layers: Layers<'a>,
    head: Option<KeptHead>,
    tracker: Tracker<'p>,
}

impl Generator<'_, '_> {
    /// Adds a token to every unfinished answer.
    fn add_tokens(&mut self, decodings: &mut [Decoding]) -> Result<()> {
        let (adapted, model) = (self.adapted, self.adapted.model());
        let mut running: Vec<&mut Decoding> = decodings.iter_mut().filter(|decodings| decodings.is_running()).collect();
        let batches: Vec<Batch> = running.iter_mut().map(|decodings| decodings.next_batch(model)).collect();
        let places = running.iter().map(|decodings| decodings.places());
        let passes = batches.iter().zip(places).map(|(batch, places)| Pass::through_caches(model, batch, places));
        let passes = passes.collect::<Result<Vec<_>>>()?;
        let streams = running.iter_mut().zip(&passes).map(|(decodings, pass)| decodings.stream(pass, adapted));
        let streams = BTreeMap::from([(0, streams.collect::<Result<Vec<_>>>()?)]);
        let mut next = Vec::new();
        let walk = Walk { layers: &mut self.layers, side_by_side: passes.len(), tracker: &mut self.tracker };
        walk.run(streams, |layers, streams| {
            if layers == model.config.layers {
                let rows = streams.iter().map(|stream| adapted.answer_rows(&stream.hidden, stream.pass, layers));
                next = adapted.likeliest(&rows.collect::<Result<Vec<_>>>()?, self.head.as_mut())?;
            }
            Ok(())
        })?;
        running.into_iter().zip(next).for_each(|(decodings, tokens)| decodings.add(&tokens));
        Ok(())
    }
}
