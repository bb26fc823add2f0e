//! The prefix stream, on which the whole adapter acts: its states before some layers are kept, so that boundaries that are
//! evaluated later start from there.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::stream::{Member, Stream};

/// States of one adapter's prefix stream on one batch.
pub struct KeptPrefix {
    /// The boundaries that may still be evaluated.
    boundaries: BTreeSet<usize>,
    /// By layer, the states before it.
    hidden: BTreeMap<usize, Tensor>,
}

impl KeptPrefix {
    pub fn new(boundaries: BTreeSet<usize>) -> Self {
        Self { boundaries, hidden: BTreeMap::new() }
    }

    /// Keeps nothing more for some boundaries: they are evaluated in the next walk, and only there.
    pub fn forget(&mut self, boundaries: &BTreeSet<usize>) {
        self.boundaries.retain(|boundary| !boundaries.contains(boundary));
    }

    /// Keeps the states of a stream before layer `layer`, if it is the prefix stream and the boundary may be evaluated later.
    pub fn keep(&mut self, layer: usize, stream: &Stream) {
        // The members of a stream have equal profiles up to this layer, itself included.
        let is_prefix = stream.members[0].profile.prefix_layers() > layer;
        if is_prefix && self.boundaries.contains(&layer) {
            self.hidden.insert(layer, stream.hidden.clone());
        }
    }

    /// The members by their first layer: where their profiles leave the prefix stream, if its states there are kept for
    /// all of them, and otherwise layer 0.
    pub fn starts<'m>(&self, members: &[Member<'m>]) -> BTreeMap<usize, Vec<Member<'m>>> {
        let leaves = |member: &Member| member.profile.prefix_layers();
        let is_kept = members.iter().all(|member| self.hidden.contains_key(&leaves(member)));
        let mut starts: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for &member in members {
            starts.entry(if is_kept { leaves(&member) } else { 0 }).or_default().push(member);
        }
        starts
    }

    /// The kept states before layer `layer`. They are not needed again: each boundary is evaluated once.
    pub fn take(&mut self, layer: usize) -> Option<Tensor> {
        self.hidden.remove(&layer)
    }
}
