//! The layers that streams go through: as the base model has them, and as each adapter makes them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::Device;
use rayon::prelude::*;

use super::profile::Strength;
use super::walk::Stream;
use crate::adapter::LayerAdapter;
use crate::error::{ComputeError, Result};
use crate::model::{AdaptedModel, Expert, Layer, Model, Pass};

/// The layers of the base model, read one by one. A small model's are kept for the next pass.
pub struct BaseLayers<'a> {
    model: &'a Model,
    kept: Option<BTreeMap<usize, Layer<'a>>>,
}

impl<'a> BaseLayers<'a> {
    pub fn new(model: &'a Model, keeps: bool) -> Self {
        Self { model, kept: keeps.then(BTreeMap::new) }
    }

    /// Layer `index`; the one behind it is prefetched, so that it is read while this one is used.
    fn load(&mut self, index: usize) -> Result<Layer<'a>> {
        if let Some(layer) = self.kept.as_ref().and_then(|kept| kept.get(&index)) {
            return Ok(layer.clone());
        }
        let layer = self.model.layer(index)?;
        self.model.prefetch_layer(index + 1);
        if let Some(kept) = &mut self.kept {
            kept.insert(index, layer.clone());
        }
        Ok(layer)
    }
}

/// What a stream's way has been given.
fn find<'t, T>(by_way: &'t [(Way, T)], stream: &Stream) -> Option<&'t T> {
    by_way.iter().find(|(way, _)| *way == stream.way()).map(|(_, found)| found)
}

/// Works on every stream: side by side on a processor, one after the other elsewhere.
///
/// Elsewhere all work has to come from the thread that loads the layers: on CUDA candle gives each thread a queue of its
/// own, and what one queue computes need not be there when another one reads it.
pub fn for_each_stream<S: Send>(
    streams: &mut [S],
    device: &Device,
    work: impl Fn(&mut S) -> candle_core::Result<()> + Sync,
) -> Result<()> {
    match device {
        Device::Cpu => streams.par_iter_mut().try_for_each(&work)?,
        _ => streams.iter_mut().try_for_each(work)?,
    }
    Ok(())
}

/// A layer as it is in the base model, and as the adapters make it.
pub struct AdaptedLayer<'a> {
    model: &'a Model,
    base: Layer<'a>,
    /// For each way in which any stream has an adapter on here.
    adapted: Vec<(Way, Layer<'a>)>,
}

/// An adapter, and how strongly it acts.
pub type Way = (usize, Strength);

impl<'a> AdaptedLayer<'a> {
    /// Layer `index` in the ways in which streams want it.
    pub fn load(
        layers: &mut BaseLayers<'a>,
        ends: &[&AdaptedModel],
        index: usize,
        ways: impl Iterator<Item = Way>,
    ) -> Result<Self> {
        let (model, base) = (layers.model, layers.load(index)?);
        let mut loaded: BTreeMap<usize, LayerAdapter> = BTreeMap::new();
        let mut adapted: Vec<(Way, Layer)> = Vec::new();
        for way in ways.filter(|(_, strength)| *strength != Strength::NONE) {
            let (adapter, strength) = way;
            if adapted.iter().any(|(other, _)| *other == way) {
                continue;
            }
            if let Entry::Vacant(place) = loaded.entry(adapter) {
                place.insert(ends[adapter].adapter().load_layer(index, model.device())?);
            }
            let strength_of = |module: &str| strength.in_module(module, model.config.family);
            adapted.push((way, base.adapted(loaded[&adapter].clone().scaled(strength_of)?)?));
        }
        Ok(Self { model, base, adapted })
    }

    /// The layer as a stream has it.
    pub fn of(&self, stream: &Stream) -> &Layer<'a> {
        find(&self.adapted, stream).unwrap_or(&self.base)
    }

    /// Takes all streams through the layer, `side_by_side` of them at a time. `step` is told of the tokens that went
    /// through it, and stops the walk with `false`.
    pub fn take(
        &self,
        streams: &mut [&mut Stream],
        pass: &Pass,
        side_by_side: usize,
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        let device = self.model.device();
        for group in streams.chunks_mut(side_by_side) {
            for_each_stream(group, device, |stream| stream.advance(self, pass))?;
            if !step((group.len() * pass.batch.tokens()) as u64) {
                return Err(ComputeError::Interrupted.into());
            }
        }
        self.add_experts(streams, device)
    }

    /// Takes all streams through the layer's experts: each is read once, and only if a token goes to it.
    pub fn add_experts(&self, streams: &mut [&mut Stream], device: &Device) -> Result<()> {
        for number in 0..self.base.expert_count() {
            let is_hit = |stream: &&mut Stream| stream.routed.as_ref().is_some_and(|routed| routed.uses(number));
            if !streams.iter().any(is_hit) {
                continue;
            }
            let expert = self.base.expert(number)?;
            let adapted = self.adapted.iter().map(|(way, layer)| Ok((*way, layer.adapted_expert(number, &expert)?)));
            let adapted = adapted.collect::<Result<Vec<(Way, Expert)>>>()?;
            for_each_stream(streams, device, |stream| self.add_expert(stream, number, &expert, &adapted))?;
        }
        for stream in streams.iter_mut() {
            if let Some(mut routed) = stream.routed.take() {
                stream.hidden = routed.add_pending(&stream.hidden)?;
            }
        }
        Ok(())
    }

    /// Adds what one of the layer's experts, as a stream has it, makes of the stream's tokens that go to it.
    fn add_expert(
        &self,
        stream: &mut Stream,
        number: usize,
        expert: &Expert,
        adapted: &[(Way, Expert)],
    ) -> candle_core::Result<()> {
        let layer = self.of(stream);
        let expert = find(adapted, stream).unwrap_or(expert);
        if let Some(routed) = stream.routed.as_mut().filter(|routed| routed.uses(number)) {
            stream.hidden = layer.add_expert(&stream.hidden, routed, number, expert)?;
        }
        Ok(())
    }
}
