//! One walk of a batch through the layers: which streams there are, where they fork, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::layers::{AdaptedLayer, BaseLayers, for_each_stream};
use crate::error::{Result, SweepError};
use crate::model::{Ends, Model, Outcome, Pass, Routed};
use crate::samples::batch::Batch;

/// A batch and the boundaries to evaluate on it.
pub struct Walk<'a> {
    /// The adapters, of one base model.
    pub ends: &'a [Ends<'a>],
    /// By adapter; none where it does not take part.
    pub boundaries: &'a [BTreeSet<usize>],
    pub batch: &'a Batch,
    /// The streams that go through a layer at the same time.
    pub side_by_side: usize,
}

/// The states of a prefix stream before layers, kept for boundaries that may be asked for later.
pub struct Trail {
    /// The boundaries that may be asked for at all.
    wanted: BTreeSet<usize>,
    hidden: BTreeMap<usize, Tensor>,
}

impl Trail {
    pub fn new(wanted: BTreeSet<usize>) -> Self {
        Self { wanted, hidden: BTreeMap::new() }
    }

    fn covers(&self, boundaries: &BTreeSet<usize>) -> bool {
        boundaries.iter().all(|boundary| self.hidden.contains_key(boundary))
    }

    fn keep(&mut self, layer: usize, hidden: &Tensor) {
        if self.wanted.contains(&layer) {
            self.hidden.insert(layer, hidden.clone());
        }
    }
}

/// The hidden states of a batch for one boundary of one adapter.
pub(crate) struct Stream {
    pub adapter: usize,
    pub boundary: usize,
    /// (tokens of the batch, hidden)
    pub hidden: Tensor,
    /// What waits for the experts of the layer that the stream is in.
    pub routed: Option<Routed>,
}

impl Stream {
    pub fn new(adapter: usize, boundary: usize, hidden: Tensor) -> Self {
        Self { adapter, boundary, hidden, routed: None }
    }

    /// Goes through a layer, but for its experts.
    fn advance(&mut self, layer: &AdaptedLayer, pass: &Pass) -> candle_core::Result<()> {
        (self.hidden, self.routed) = layer.of(self).forward(&self.hidden, pass, None)?;
        Ok(())
    }
}

impl Walk<'_> {
    /// Tokens times layers that go through the decoder for each adapter.
    pub fn costs(&self, trails: &[Trail]) -> Vec<u64> {
        let layers = self.model().config.layers;
        let cost = |adapter: usize| {
            let own = self.own_boundaries(adapter);
            let passes = match own.is_empty() || trails[adapter].covers(&own) {
                true => own.iter().map(|boundary| (layers - boundary) as u64).sum(),
                false => super::layer_passes(layers, &own),
            };
            passes * self.batch.tokens() as u64
        };
        (0..self.ends.len()).map(cost).collect()
    }

    /// The batch's answer tokens: `[adapter][boundary][answer]`. `step` is told of each layer and the
    /// tokens that went through it, and stops the walk with `false`.
    pub fn outcomes(
        &self,
        layers: &mut BaseLayers,
        trails: &mut [Trail],
        step: &mut dyn FnMut(usize, u64) -> bool,
    ) -> Result<Vec<Vec<Vec<Outcome>>>> {
        let model = self.model();
        let pass = Pass::new(model, self.batch)?;
        let own: Vec<BTreeSet<usize>> = (0..self.ends.len()).map(|adapter| self.own_boundaries(adapter)).collect();
        let mut prefixes = self.prefixes(&own, trails)?;
        let mut forks: Vec<Stream> = Vec::new();
        let first = if prefixes.is_empty() { own.iter().flatten().min().copied().unwrap_or(0) } else { 0 };
        for index in first..model.config.layers {
            for (adapter, _) in own.iter().enumerate().filter(|(_, own)| own.contains(&index)) {
                let prefix = prefixes.iter().find(|prefix| prefix.adapter == adapter);
                let hidden = match prefix {
                    Some(prefix) if index < prefix.boundary => Some(prefix.hidden.clone()),
                    // It goes on as the stream of its own boundary.
                    Some(_) => None,
                    // No boundary is asked for twice.
                    None => trails[adapter].hidden.remove(&index),
                };
                forks.extend(hidden.map(|hidden| Stream::new(adapter, index, hidden)));
            }
            let passing = |prefix: &&Stream| index < prefix.boundary && !own[prefix.adapter].contains(&index);
            for prefix in prefixes.iter().filter(passing) {
                trails[prefix.adapter].keep(index, &prefix.hidden);
            }
            let mut streams: Vec<&mut Stream> = forks.iter_mut().chain(&mut prefixes).collect();
            let wanted = streams.iter().map(|stream| (stream.adapter, stream.boundary));
            let layer = AdaptedLayer::load(layers, self.ends, index, wanted)?;
            for group in streams.chunks_mut(self.side_by_side) {
                for_each_stream(group, model.device(), |stream| stream.advance(&layer, &pass))?;
                if !step(index, (group.len() * self.batch.tokens()) as u64) {
                    return Err(SweepError::Interrupted.into());
                }
            }
            layer.add_experts(&mut streams, model.device())?;
        }
        forks.extend(prefixes);
        let outcomes = self.outcomes_of(forks, &pass)?;
        let of_adapter = |(adapter, boundaries): (usize, &BTreeSet<usize>)| {
            let of = |&boundary: &usize| outcomes[&(self.walks_for(adapter, boundary), boundary)].clone();
            boundaries.iter().map(of).collect()
        };
        Ok(self.boundaries.iter().enumerate().map(of_adapter).collect())
    }

    fn model(&self) -> &Model {
        self.ends[0].model()
    }

    /// The adapter whose stream is also that of `adapter` at `boundary`: without layers, and with nothing outside of them,
    /// all are the base model.
    fn walks_for(&self, adapter: usize, boundary: usize) -> usize {
        let is_base = |adapter: &usize| self.ends[*adapter].is_plain() && self.boundaries[*adapter].contains(&0);
        match boundary == 0 && is_base(&adapter) {
            true => (0..adapter).find(is_base).unwrap_or(adapter),
            false => adapter,
        }
    }

    /// The boundaries of an adapter that have a stream of their own.
    fn own_boundaries(&self, adapter: usize) -> BTreeSet<usize> {
        let is_own = |boundary: &usize| self.walks_for(adapter, *boundary) == adapter;
        self.boundaries[adapter].iter().copied().filter(is_own).collect()
    }

    /// The streams that others fork from, where no trail has their states already.
    fn prefixes(&self, own: &[BTreeSet<usize>], trails: &[Trail]) -> Result<Vec<Stream>> {
        let mut prefixes = Vec::new();
        for (adapter, own) in own.iter().enumerate() {
            if let Some(&last) = own.last().filter(|_| !trails[adapter].covers(own)) {
                prefixes.push(Stream::new(adapter, last, self.ends[adapter].first_hidden(self.batch)?));
            }
        }
        Ok(prefixes)
    }

    /// What streams behind the last layer make of the answers, by adapter and boundary. All that end alike share the head.
    fn outcomes_of(&self, streams: Vec<Stream>, pass: &Pass) -> Result<BTreeMap<(usize, usize), Vec<Outcome>>> {
        let head_of = |adapter: usize| match self.ends[adapter].is_plain() {
            true => self.ends.iter().position(Ends::is_plain).unwrap_or(adapter),
            false => adapter,
        };
        let mut by_head: BTreeMap<usize, Vec<Stream>> = BTreeMap::new();
        for stream in streams {
            by_head.entry(head_of(stream.adapter)).or_default().push(stream);
        }
        let mut outcomes = BTreeMap::new();
        for (head, streams) in by_head {
            let ends = &self.ends[head];
            let rows =
                streams.iter().map(|stream| ends.answer_rows(&stream.hidden, pass)).collect::<Result<Vec<_>>>()?;
            let names = streams.iter().map(|stream| (stream.adapter, stream.boundary));
            outcomes.extend(names.zip(ends.outcomes(&rows, self.batch)?));
        }
        Ok(outcomes)
    }
}
