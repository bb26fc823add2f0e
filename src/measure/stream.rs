//! Streams: hidden states on their way through the layers. Profiles share a stream as long as they are equal.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::profile::{Profile, Strength};
use crate::error::Result;
use crate::model::{Cache, Pass, Routed};

/// A profile of an adapter, as a member of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub adapter: usize,
    /// The index of the profile among those of the adapter.
    pub index: usize,
    pub profile: &'a Profile,
}

impl<'a> Member<'a> {
    pub fn of_profiles(adapter: usize, profiles: &'a [Profile]) -> impl Iterator<Item = Self> {
        profiles.iter().enumerate().map(move |(index, profile)| Self { adapter, index, profile })
    }
}

/// Groups members by the strength that their profiles have in layer `layer`.
fn by_strength(members: Vec<Member>, layer: usize) -> Vec<(Strength, Vec<Member>)> {
    let mut groups: Vec<(Strength, Vec<Member>)> = Vec::new();
    for member in members {
        let strength = member.profile.at(layer);
        match groups.iter_mut().find(|(other, _)| *other == strength) {
            Some((_, group)) => group.push(member),
            None => groups.push((strength, vec![member])),
        }
    }
    groups
}

/// The number of layers that the streams of all members, which are given by their first layer, go through together.
pub fn layer_passes(mut starting: BTreeMap<usize, Vec<Member>>, layers: usize) -> u64 {
    let mut streams: Vec<Vec<Member>> = Vec::new();
    let mut passes = 0;
    for layer in 0..layers {
        streams.extend(starting.remove(&layer));
        streams = streams.into_iter().flat_map(|stream| by_strength(stream, layer)).map(|(_, fork)| fork).collect();
        passes += streams.len() as u64;
    }
    passes
}

/// A variant of a layer: which adapter changes it, and how strongly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    pub adapter: usize,
    pub strength: Strength,
}

/// The hidden states of a batch, the same for all members so far.
pub struct Stream<'a> {
    pub members: Vec<Member<'a>>,
    /// The variant of the layer that the stream goes through.
    pub variant: Variant,
    /// The hidden states, with what they carry (`model/carried.rs`): (tokens of the batch, hidden or more)
    pub hidden: Tensor,
    /// What waits for the experts of the layer.
    pub routed: Option<Routed>,
    pub pass: &'a Pass<'a>,
    /// The keys and values of earlier tokens. Only a stream of one member has a cache, so forks need no copy.
    pub cache: Option<&'a mut Cache>,
}

impl<'a> Stream<'a> {
    pub fn new(pass: &'a Pass<'a>, adapter: usize, members: Vec<Member<'a>>, hidden: Tensor) -> Self {
        let variant = Variant { adapter, strength: Strength::NONE };
        Self { members, variant, hidden, routed: None, pass, cache: None }
    }

    /// Splits the stream before layer `layer` into one for each strength that its members have there.
    pub fn fork(mut self, layer: usize) -> Vec<Self> {
        let fork = |(strength, members)| Self {
            members,
            variant: Variant { strength, ..self.variant },
            hidden: self.hidden.clone(),
            routed: None,
            pass: self.pass,
            cache: self.cache.take(),
        };
        by_strength(self.members, layer).into_iter().map(fork).collect()
    }
}

/// Works on every stream: in parallel on the CPU, one after the other on other devices.
///
/// On CUDA candle gives each thread a queue of its own, and what one queue computes need not be there when another one reads
/// it. So all work has to come from the thread that loads the layers.
pub fn for_each_stream(
    streams: &mut [Stream],
    device: &Device,
    work: impl Fn(&mut Stream) -> candle_core::Result<()> + Sync,
) -> Result<()> {
    match device {
        Device::Cpu => streams.par_iter_mut().try_for_each(&work)?,
        _ => streams.iter_mut().try_for_each(work)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layer passes of profiles that each start with a layer.
    fn passes(profiles: &[&Profile], starts: &[usize], layers: usize) -> u64 {
        let mut starting: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for (index, (profile, &start)) in profiles.iter().zip(starts).enumerate() {
            starting.entry(start).or_default().push(Member { adapter: 0, index, profile });
        }
        layer_passes(starting, layers)
    }

    #[test]
    fn boundaries_share_what_is_below_them() {
        for (layers, boundaries) in
            [(30, (0..=30).collect::<Vec<_>>()), (30, vec![0, 30]), (9, vec![2, 3, 7]), (4, vec![])]
        {
            let profiles: Vec<Profile> = boundaries.iter().map(|&boundary| Profile::below(boundary, layers)).collect();
            let profiles: Vec<&Profile> = profiles.iter().collect();
            let expected = match boundaries.split_last() {
                Some((_, forked)) => layers + forked.iter().map(|boundary| layers - boundary).sum::<usize>(),
                None => 0,
            };
            assert_eq!(passes(&profiles, &vec![0; profiles.len()], layers), expected as u64, "{boundaries:?}");
        }
    }

    #[test]
    fn what_differs_from_the_start_shares_nothing() {
        let scales = [0.2, 0.4, 1.0].map(|scale| Profile::below(4, 6).scaled(scale));
        let scales: Vec<&Profile> = scales.iter().collect();
        assert_eq!(passes(&scales, &[0; 3], 6), 18);
        assert_eq!(passes(&[scales[0], scales[0]], &[0; 2], 6), 6);
        assert_eq!(passes(&scales, &[0, 0, 4], 6), 14);
    }
}
