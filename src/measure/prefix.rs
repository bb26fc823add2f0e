//! The trunk, the stream that the points of a curve leave at one layer each: its states before some layers are kept, so that
//! points that are evaluated later start from there.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::profile::Profile;
use super::stream::{Member, Stream};

/// States of one adapter's trunk on one batch.
pub struct KeptPrefix {
    trunk: Profile,
    /// The layers before which points that may still be evaluated leave the trunk.
    forks: BTreeSet<usize>,
    /// By layer, the states before it.
    hidden: BTreeMap<usize, Tensor>,
}

impl KeptPrefix {
    pub fn new(trunk: Profile, forks: BTreeSet<usize>) -> Self {
        Self { trunk, forks, hidden: BTreeMap::new() }
    }

    /// Keeps nothing more for some points: they are evaluated in the next walk, and only there.
    pub fn forget(&mut self, points: &[Profile]) {
        for point in points {
            self.forks.remove(&point.shared_layers(&self.trunk));
        }
    }

    /// Keeps the states of a stream before layer `layer`, if it is the trunk and a point may leave it there later.
    pub fn keep(&mut self, layer: usize, stream: &Stream) {
        // The members of a stream have equal profiles up to this layer, itself included.
        let is_trunk = stream.members[0].profile.shared_layers(&self.trunk) > layer;
        if is_trunk && self.forks.contains(&layer) {
            self.hidden.insert(layer, stream.hidden.clone());
        }
    }

    /// The members by their first layer: where their profiles leave the trunk, if its states there are kept, and otherwise layer 0.
    pub fn starts<'m>(&self, members: &[Member<'m>]) -> BTreeMap<usize, Vec<Member<'m>>> {
        let mut starts: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for &member in members {
            let leaves = member.profile.shared_layers(&self.trunk);
            let start = if self.hidden.contains_key(&leaves) { leaves } else { 0 };
            starts.entry(start).or_default().push(member);
        }
        starts
    }

    /// The kept states before layer `layer`. They are not needed again: each point is evaluated once.
    pub fn take(&mut self, layer: usize) -> Option<Tensor> {
        self.hidden.remove(&layer)
    }
}
