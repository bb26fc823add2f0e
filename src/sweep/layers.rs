//! The layers that streams go through: as the base model has them, and as each adapter makes them.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use rayon::prelude::*;

use super::walk::Stream;
use crate::error::Result;
use crate::model::{Ends, Expert, Layer, Model};

/// The layers of the base model, read one by one. A small model's are kept for the next pass.
pub struct BaseLayers<'a> {
    model: &'a Model,
    kept: Option<BTreeMap<usize, Layer<'a>>>,
}

impl<'a> BaseLayers<'a> {
    pub fn new(model: &'a Model, keeps: bool) -> Self {
        Self { model, kept: keeps.then(BTreeMap::new) }
    }

    /// Layer `index`; the one behind it is announced, so that it is read while this one is used.
    fn load(&mut self, index: usize) -> Result<Layer<'a>> {
        if let Some(layer) = self.kept.as_ref().and_then(|kept| kept.get(&index)) {
            return Ok(layer.clone());
        }
        let layer = self.model.layer(index)?;
        self.model.announce_layer(index + 1);
        if let Some(kept) = &mut self.kept {
            kept.insert(index, layer.clone());
        }
        Ok(layer)
    }
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
    base: Layer<'a>,
    /// By adapter, of those that any stream has on here.
    adapted: BTreeMap<usize, Layer<'a>>,
    index: usize,
}

impl<'a> AdaptedLayer<'a> {
    /// The layer as streams want it, of which adapter and boundary are given.
    pub fn load(
        layers: &mut BaseLayers<'a>,
        ends: &[Ends],
        index: usize,
        streams: impl Iterator<Item = (usize, usize)>,
    ) -> Result<Self> {
        let (model, base) = (layers.model, layers.load(index)?);
        let wanted: BTreeSet<usize> =
            streams.filter(|(_, boundary)| index < *boundary).map(|(adapter, _)| adapter).collect();
        let adapt =
            |adapter: usize| Ok((adapter, base.adapted(ends[adapter].adapter().load_layer(index, model.device())?)?));
        let adapted = wanted.into_iter().map(adapt).collect::<Result<_>>()?;
        Ok(Self { base, adapted, index })
    }

    /// The layer as a stream has it.
    pub fn of(&self, stream: &Stream) -> &Layer<'a> {
        let adapted = self.adapted.get(&stream.adapter).filter(|_| self.index < stream.boundary);
        adapted.unwrap_or(&self.base)
    }

    /// Takes all streams through the layer's experts: each is read once, and only if a token goes to it.
    pub fn add_experts(&self, streams: &mut [&mut Stream], device: &Device) -> Result<()> {
        for number in 0..self.base.expert_count() {
            let is_hit = |stream: &&mut Stream| stream.routed.as_ref().is_some_and(|routed| routed.goes_to(number));
            if !streams.iter().any(is_hit) {
                continue;
            }
            let expert = self.base.expert(number)?;
            let adapted =
                self.adapted.iter().map(|(&adapter, layer)| Ok((adapter, layer.adapted_expert(number, &expert)?)));
            let adapted = adapted.collect::<Result<BTreeMap<usize, Expert>>>()?;
            for_each_stream(streams, device, |stream| self.add_expert(stream, number, &expert, &adapted))?;
        }
        for stream in streams.iter_mut() {
            if let Some(mut routed) = stream.routed.take() {
                stream.hidden = routed.settle(&stream.hidden)?;
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
        adapted: &BTreeMap<usize, Expert>,
    ) -> candle_core::Result<()> {
        let layer = self.of(stream);
        let expert = adapted.get(&stream.adapter).filter(|_| self.index < stream.boundary).unwrap_or(expert);
        if let Some(routed) = stream.routed.as_mut().filter(|routed| routed.goes_to(number)) {
            stream.hidden = layer.add_expert(&stream.hidden, routed, number, expert)?;
        }
        Ok(())
    }
}
