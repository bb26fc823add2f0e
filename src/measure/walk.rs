//! One walk of a batch through the layers: which streams there are, where they part, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::layers::{AdaptedLayer, BaseLayers, Way};
use super::profile::{self, Profile, Strength};
use crate::error::Result;
use crate::model::{AdaptedModel, Model, Pass, Routed, TokenScore};
use crate::samples::packing::Batch;

/// A batch and the profiles to evaluate on it.
pub struct Walk<'a> {
    /// The adapters, of one base model.
    pub ends: &'a [&'a AdaptedModel<'a>],
    /// By adapter; none where it does not take part.
    pub profiles: &'a [Vec<Profile>],
    pub batch: &'a Batch,
    /// The streams that go through a layer at the same time.
    pub side_by_side: usize,
}

/// The states before layers of the stream with the whole adapter, kept for boundaries that may be asked for later.
pub struct Trail {
    /// The boundaries that may be asked for at all.
    wanted: BTreeSet<usize>,
    hidden: BTreeMap<usize, Tensor>,
}

impl Trail {
    pub fn new(wanted: BTreeSet<usize>) -> Self {
        Self { wanted, hidden: BTreeMap::new() }
    }
}

/// One evaluation: an adapter, and the place of one of its profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    adapter: usize,
    profile: usize,
}

/// The hidden states of a batch for all evaluations that are the same so far.
pub(crate) struct Stream {
    /// The adapter that acts on it.
    pub adapter: usize,
    members: Vec<Member>,
    /// How the adapter acts in the layer that the stream is in.
    pub strength: Strength,
    /// (tokens of the batch, hidden)
    pub hidden: Tensor,
    /// What waits for the experts of the layer that the stream is in.
    pub routed: Option<Routed>,
}

impl Stream {
    fn new(adapter: usize, members: Vec<Member>, hidden: Tensor) -> Self {
        Self { members, ..Self::with(adapter, Strength::NONE, hidden) }
    }

    /// A stream on which an adapter acts so.
    pub fn with(adapter: usize, strength: Strength, hidden: Tensor) -> Self {
        Self { adapter, members: Vec::new(), strength, hidden, routed: None }
    }

    /// How an adapter acts on it now.
    pub fn way(&self) -> Way {
        (self.adapter, self.strength)
    }

    /// The stream before layer `layer`, one for each strength that its members have there.
    fn part(self, walk: &Walk, layer: usize) -> Vec<Stream> {
        let mut parts: Vec<Stream> = Vec::new();
        for &member in &self.members {
            let strength = walk.profile(member).at(layer);
            match parts.iter_mut().find(|part| part.strength == strength) {
                Some(part) => part.members.push(member),
                None => {
                    let stream = Stream::new(self.adapter, vec![member], self.hidden.clone());
                    parts.push(Stream { strength, ..stream });
                }
            }
        }
        parts
    }

    /// Goes through a layer, but for its experts.
    pub fn advance(&mut self, layer: &AdaptedLayer, pass: &Pass) -> candle_core::Result<()> {
        (self.hidden, self.routed) = layer.of(self).forward(&self.hidden, pass, None)?;
        Ok(())
    }
}

impl Walk<'_> {
    /// Tokens times layers that go through the decoder for each adapter.
    pub fn costs(&self, trails: &[Trail]) -> Vec<u64> {
        let cost = |adapter: usize| {
            let own = self.own_members(adapter);
            let profiles: Vec<&Profile> = own.iter().map(|&member| self.profile(member)).collect();
            let is_covered = self.is_covered(&own, &trails[adapter]);
            let starts: Vec<usize> =
                profiles.iter().map(|profile| if is_covered { profile.full_below() } else { 0 }).collect();
            profile::layer_passes(&profiles, &starts) * self.batch.tokens() as u64
        };
        (0..self.ends.len()).map(cost).collect()
    }

    /// The batch's answer tokens: `[adapter][profile][answer]`. `step` is told of each layer and the
    /// tokens that went through it, and stops the walk with `false`.
    pub fn outcomes(
        &self,
        layers: &mut BaseLayers,
        trails: &mut [Trail],
        step: &mut dyn FnMut(usize, u64) -> bool,
    ) -> Result<Vec<Vec<Vec<TokenScore>>>> {
        let model = self.model();
        let pass = Pass::new(model, self.batch)?;
        let mut starting = self.starting_streams(trails)?;
        let mut streams: Vec<Stream> = Vec::new();
        for index in starting.keys().next().copied().unwrap_or(0)..model.config.layers {
            streams.extend(starting.remove(&index).into_iter().flatten());
            streams = streams.into_iter().flat_map(|stream| stream.part(self, index)).collect();
            self.keep_trails(index, &streams, trails);
            let mut streams: Vec<&mut Stream> = streams.iter_mut().collect();
            let layer = AdaptedLayer::load(layers, self.ends, index, streams.iter().map(|stream| stream.way()))?;
            layer.take(&mut streams, &pass, self.side_by_side, &mut |tokens| step(index, tokens))?;
        }
        streams.extend(starting.into_values().flatten());
        self.outcomes_of(streams, &pass)
    }

    fn model(&self) -> &Model {
        self.ends[0].model()
    }

    fn profile(&self, member: Member) -> &Profile {
        &self.profiles[member.adapter][member.profile]
    }

    /// The evaluations that go through the model as ones of this adapter. Without layers, and with nothing outside of them,
    /// all adapters are the base model, which the first of them stands for.
    fn own_members(&self, adapter: usize) -> Vec<Member> {
        let members =
            |adapter: usize| (0..self.profiles[adapter].len()).map(move |profile| Member { adapter, profile });
        let is_base = |member: &Member| self.ends[member.adapter].is_plain() && self.profile(*member).top() == 0;
        let mut bases = (0..self.ends.len()).flat_map(members).filter(is_base).peekable();
        let stands_for_all = bases.peek().is_some_and(|first| first.adapter == adapter);
        let mut own: Vec<Member> = members(adapter).filter(|member| !is_base(member)).collect();
        if stands_for_all {
            own.extend(bases);
        }
        own
    }

    /// Whether all evaluations can start from what a trail has kept.
    fn is_covered(&self, members: &[Member], trail: &Trail) -> bool {
        members.iter().all(|&member| trail.hidden.contains_key(&self.profile(member).full_below()))
    }

    /// The streams before they part, by the layer that they start with. What is taken from a trail is not asked for again.
    fn starting_streams(&self, trails: &mut [Trail]) -> Result<BTreeMap<usize, Vec<Stream>>> {
        let mut starting: BTreeMap<usize, Vec<Stream>> = BTreeMap::new();
        for (adapter, trail) in trails.iter_mut().enumerate() {
            let own = self.own_members(adapter);
            if own.is_empty() {
                continue;
            }
            if !self.is_covered(&own, trail) {
                let hidden = self.ends[adapter].first_hidden(self.batch)?;
                starting.entry(0).or_default().push(Stream::new(adapter, own, hidden));
                continue;
            }
            let mut by_layer: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
            for member in own {
                by_layer.entry(self.profile(member).full_below()).or_default().push(member);
            }
            for (layer, members) in by_layer {
                if let Some(hidden) = trail.hidden.remove(&layer) {
                    starting.entry(layer).or_default().push(Stream::new(adapter, members, hidden));
                }
            }
        }
        Ok(starting)
    }

    /// Keeps what boundaries at layer `layer` would start from, unless there is one already.
    fn keep_trails(&self, layer: usize, streams: &[Stream], trails: &mut [Trail]) {
        let is_asked_for =
            |adapter: usize| self.profiles[adapter].contains(&Profile::below(layer, self.model().config.layers));
        let goes_on_whole = |stream: &&Stream| self.profile(stream.members[0]).full_below() > layer;
        for stream in streams.iter().filter(goes_on_whole) {
            let trail = &mut trails[stream.adapter];
            if trail.wanted.contains(&layer) && !is_asked_for(stream.adapter) {
                trail.hidden.insert(layer, stream.hidden.clone());
            }
        }
    }

    /// What streams behind the last layer make of the answers, by adapter and profile. All that end alike share the head.
    fn outcomes_of(&self, streams: Vec<Stream>, pass: &Pass) -> Result<Vec<Vec<Vec<TokenScore>>>> {
        let head_of = |adapter: usize| match self.ends[adapter].is_plain() {
            true => self.ends.iter().position(|ends| ends.is_plain()).unwrap_or(adapter),
            false => adapter,
        };
        let mut by_head: BTreeMap<usize, Vec<Stream>> = BTreeMap::new();
        for stream in streams {
            by_head.entry(head_of(stream.adapter)).or_default().push(stream);
        }
        let mut outcomes: Vec<Vec<Vec<TokenScore>>> =
            self.profiles.iter().map(|profiles| vec![Vec::new(); profiles.len()]).collect();
        for (head, streams) in by_head {
            let ends = &self.ends[head];
            let layers = self.model().config.layers;
            let rows = streams.iter().map(|stream| ends.answer_rows(&stream.hidden, pass, layers));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            for (stream, found) in streams.iter().zip(ends.score_answers(&rows, self.batch)?) {
                for member in &stream.members {
                    outcomes[member.adapter][member.profile] = found.clone();
                }
            }
        }
        Ok(outcomes)
    }
}
