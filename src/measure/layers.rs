//! The layers that streams go through: as the base model has them, and as adapters change them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::Device;

use super::profile::Strength;
use super::stream::{Stream, Variant, for_each_stream};
use super::walk::Tracker;
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::model::{AdaptedModel, Expert, Layer};

/// What stays in memory when a layer has been used.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    Nothing,
    /// The layer of the base model.
    Base,
    /// The layer of the base model and all its variants.
    Variants,
}

/// The layers of the base model, read one by one.
pub struct Layers<'a> {
    /// One base model with each of the adapters.
    models: &'a [&'a AdaptedModel<'a>],
    keep: Keep,
    kept: BTreeMap<usize, AdaptedLayer<'a>>,
}

impl<'a> Layers<'a> {
    pub fn new(models: &'a [&'a AdaptedModel<'a>], keep: Keep) -> Self {
        Self { models, keep, kept: BTreeMap::new() }
    }

    pub fn count(&self) -> usize {
        self.models[0].model().config.layers
    }

    /// Layer `index` in the variants that `streams` need. If it has to be read, the next layer is prefetched.
    pub fn load(&mut self, index: usize, streams: &[Stream]) -> Result<AdaptedLayer<'a>> {
        let model = self.models[0].model();
        let mut layer = match self.kept.remove(&index) {
            Some(layer) => layer,
            None => {
                let base = model.layer(index)?;
                model.prefetch_layer(index + 1);
                AdaptedLayer { index, device: model.device(), base, variants: Vec::new() }
            }
        };
        let mut adapters: BTreeMap<usize, LayerAdapter> = BTreeMap::new();
        for variant in streams.iter().map(|stream| stream.variant) {
            let Variant { adapter, strength } = variant;
            if strength == Strength::NONE || find(&layer.variants, variant).is_some() {
                continue;
            }
            if let Entry::Vacant(entry) = adapters.entry(adapter) {
                entry.insert(self.models[adapter].adapter().load_layer(index, model.device())?);
            }
            let strength_of = |module: &str| strength.in_module(module, model.config.family);
            let adapted = layer.base.adapted(adapters[&adapter].clone().scaled(strength_of)?)?;
            layer.variants.push((variant, adapted));
        }
        Ok(layer)
    }

    /// Takes back a layer that streams went through.
    pub fn release(&mut self, mut layer: AdaptedLayer<'a>) {
        match self.keep {
            Keep::Nothing => return,
            Keep::Base => layer.variants.clear(),
            Keep::Variants => {}
        }
        self.kept.insert(layer.index, layer);
    }
}

fn find<T>(variants: &[(Variant, T)], variant: Variant) -> Option<&T> {
    variants.iter().find(|(other, _)| *other == variant).map(|(_, found)| found)
}

/// A layer of the base model, and its variants with an adapter.
pub struct AdaptedLayer<'a> {
    index: usize,
    device: &'a Device,
    base: Layer<'a>,
    variants: Vec<(Variant, Layer<'a>)>,
}

impl<'a> AdaptedLayer<'a> {
    /// The layer that a stream goes through.
    fn of(&self, stream: &Stream) -> &Layer<'a> {
        find(&self.variants, stream.variant).unwrap_or(&self.base)
    }

    /// Takes all streams through the layer, `side_by_side` of them at a time.
    pub fn advance(&self, streams: &mut [Stream], side_by_side: usize, tracker: &mut Tracker) -> Result<()> {
        for group in streams.chunks_mut(side_by_side) {
            for_each_stream(group, self.device, |stream| {
                let layer = self.of(stream);
                let cache = stream.cache.as_deref_mut().map(|cache| cache.layer(self.index));
                (stream.hidden, stream.routed) = layer.forward(&stream.hidden, stream.pass, cache)?;
                Ok(())
            })?;
            let tokens: usize = group.iter().map(|stream| stream.pass.batch.tokens()).sum();
            tracker.advance(self.index, tokens as u64)?;
        }
        for number in 0..self.base.expert_count() {
            self.add_expert(number, streams)?;
        }
        for stream in streams {
            if let Some(routed) = stream.routed.take() {
                stream.hidden = self.of(stream).behind_experts(&stream.hidden, routed)?;
            }
        }
        Ok(())
    }

    /// Adds what one of the layer's experts makes of the tokens that are routed to it. The expert is read once for all
    /// streams, and only if it has tokens.
    fn add_expert(&self, number: usize, streams: &mut [Stream]) -> Result<()> {
        let is_hit = |stream: &Stream| stream.routed.as_ref().is_some_and(|routed| routed.uses(number));
        if !streams.iter().any(is_hit) {
            return Ok(());
        }
        let expert = self.base.expert(number)?;
        let variants =
            self.variants.iter().map(|(variant, layer)| Ok((*variant, layer.adapted_expert(number, &expert)?)));
        let variants = variants.collect::<Result<Vec<(Variant, Expert)>>>()?;
        for_each_stream(streams, self.device, |stream| {
            let (layer, expert) = (self.of(stream), find(&variants, stream.variant).unwrap_or(&expert));
            if let Some(routed) = stream.routed.as_mut().filter(|routed| routed.uses(number)) {
                stream.hidden = layer.add_expert(&stream.hidden, routed, number, expert)?;
            }
            Ok(())
        })
    }
}
