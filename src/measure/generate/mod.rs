//! Greedy generation: what the model answers with some profiles of an adapter, all of them side by side, batch by batch.
//!
//! The tokens of a prompt go through the layers once, then one token of each unfinished answer at a time; the keys and
//! values of all before them are kept. Samples are not padded. All profiles are streams through the same layers, as in the
//! sweep, so that each weight is read once per step for all of them, or once in all where the layers fit into memory.

mod budget;
mod growth;

use candle_core::Device;

use crate::error::{ComputeError, Result};
use crate::measure::layers::{AdaptedLayer, BaseLayers, for_each_stream};
use crate::measure::walk::Stream;
use crate::measure::{OnProgress, Profile, Progress};
use crate::model::{AdaptedModel, HeadCache, Pass};
use crate::samples::Prompt;
use crate::samples::packing::Batch;
use budget::Budget;
use growth::Growth;

/// There is one adapter.
const ADAPTER: usize = 0;

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// The bytes that weights, keys, values and intermediate values may take together.
    pub memory: u64,
    pub device: Device,
    /// The most tokens of an answer. The model's context limits it too.
    pub max_new_tokens: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Its tokens, with the one that ends it.
    pub ids: Vec<u32>,
    /// Whether one of the prompt's stops ended it, and not the limit.
    pub stopped: bool,
}

/// Answers every prompt with every profile by the likeliest token at each place, of equally likely ones the first:
/// `[profile][prompt]`.
pub fn generate(
    ends: &AdaptedModel,
    prompts: &[Prompt],
    profiles: &[Profile],
    options: &GenerateOptions,
    on_progress: OnProgress,
) -> Result<Vec<Vec<Generated>>> {
    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.ids.len()).collect();
    let budget = Budget::new(ends, profiles.len(), options)?;
    let batches = budget.batches(&lengths)?;
    let mut generator = Generator::new(ends, profiles, &options.device, budget.keeps_weights)?;
    let mut answers = vec![Vec::with_capacity(prompts.len()); profiles.len()];
    let layers = ends.model().config.layers as u64;
    let most = |length: &usize| (length + options.max_new_tokens) as u64 * layers * profiles.len() as u64;
    let total = lengths.iter().map(most).sum();
    for (pass, batch) in batches.iter().enumerate() {
        let mut done = lengths[..batch.start].iter().map(most).sum();
        let mut step = |layer, tokens| {
            done += tokens;
            on_progress(Progress { pass, passes: batches.len(), layer, done, total })
        };
        let new = |profile| Growth::new(ends, profile, &prompts[batch.clone()], options.max_new_tokens);
        let mut growths = profiles.iter().map(new).collect::<Result<Vec<Growth>>>()?;
        while growths.iter().any(Growth::is_running) {
            generator.step(&mut growths, &mut step)?;
        }
        for (answers, growth) in answers.iter_mut().zip(growths) {
            answers.extend(growth.into_answers());
        }
    }
    Ok(answers)
}

/// The model, with what is kept of it from one step to the next.
struct Generator<'a> {
    ends: &'a AdaptedModel<'a>,
    profiles: &'a [Profile],
    device: &'a Device,
    layers: BaseLayers<'a>,
    /// All layers and the head, where they fit into memory.
    kept: Option<(Vec<AdaptedLayer<'a>>, HeadCache)>,
}

impl<'a> Generator<'a> {
    fn new(ends: &'a AdaptedModel<'a>, profiles: &'a [Profile], device: &'a Device, keeps: bool) -> Result<Self> {
        // They are kept here as the adapter makes them, not there as they are in the base model.
        let layers = BaseLayers::new(ends.model(), false);
        let mut generator = Self { ends, profiles, device, layers, kept: None };
        if keeps {
            let layers = (0..ends.model().config.layers).map(|index| generator.load(index)).collect::<Result<_>>()?;
            generator.kept = Some((layers, HeadCache::default()));
        }
        Ok(generator)
    }

    fn load(&mut self, index: usize) -> Result<AdaptedLayer<'a>> {
        let ways = self.profiles.iter().map(|profile| (ADAPTER, profile.at(index)));
        AdaptedLayer::load(&mut self.layers, &[self.ends], index, ways)
    }

    /// Adds a token to every unfinished answer. `told` hears of each layer and the tokens that went through it, and stops
    /// the generation with `false`.
    fn step(&mut self, growths: &mut [Growth], told: &mut dyn FnMut(usize, u64) -> bool) -> Result<()> {
        let (ends, model) = (self.ends, self.ends.model());
        let mut running: Vec<&mut Growth> = growths.iter_mut().filter(|growth| growth.is_running()).collect();
        let batches: Vec<Batch> = running.iter_mut().map(|growth| growth.next_rows(model)).collect();
        let tokens: u64 = batches.iter().map(|batch| batch.tokens() as u64).sum();
        let mut passes = Vec::with_capacity(batches.len());
        for (growth, batch) in running.iter_mut().zip(&batches) {
            growth.stream.hidden = ends.first_hidden(batch)?;
            passes.push(Pass::through_caches(model, batch, growth.places())?);
        }
        for index in 0..model.config.layers {
            let read = if self.kept.is_none() { Some(self.load(index)?) } else { None };
            let kept = self.kept.as_ref().map(|(layers, _)| &layers[index]);
            let Some(layer) = kept.or(read.as_ref()) else { unreachable!("a layer is kept or read") };
            let mut parts: Vec<(&mut Growth, &Pass)> =
                running.iter_mut().map(|growth| &mut **growth).zip(&passes).collect();
            for_each_stream(&mut parts, self.device, |(growth, pass)| growth.advance(layer, pass, index))?;
            let mut streams: Vec<&mut Stream> = running.iter_mut().map(|growth| &mut growth.stream).collect();
            layer.add_experts(&mut streams, self.device)?;
            if !told(index, tokens) {
                return Err(ComputeError::Interrupted.into());
            }
        }
        let rows = running
            .iter()
            .zip(&passes)
            .map(|(growth, pass)| ends.answer_rows(&growth.stream.hidden, pass, model.config.layers));
        let head = self.kept.as_mut().map(|(_, head)| head);
        let words = ends.likeliest(&rows.collect::<Result<Vec<_>>>()?, head)?;
        running.into_iter().zip(words).for_each(|(growth, words)| growth.add(&words));
        Ok(())
    }
}
