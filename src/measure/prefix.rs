//! The prefix stream, on which the whole adapter acts: its states before some layers are kept, so that boundaries that are
//! evaluated later start from there.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::stream::{Evaluation, Stream};

/// States of one adapter's prefix stream on one batch.
pub struct KeptPrefix {
    /// The boundaries that may still be evaluated.
    boundaries: BTreeSet<usize>,
    /// By boundary, the states before the layer.
    hidden: BTreeMap<usize, Tensor>,
}

impl KeptPrefix {
    pub fn new(boundaries: BTreeSet<usize>) -> Self {
        Self { boundaries, hidden: BTreeMap::new() }
    }

    /// Takes note that some boundaries will not be evaluated after the next walk.
    pub fn forget(&mut self, boundaries: &BTreeSet<usize>) {
        self.boundaries.retain(|boundary| !boundaries.contains(boundary));
    }

    /// Keeps the states of a stream before layer `layer`, if it is the prefix stream and the boundary may be evaluated later.
    pub fn keep(&mut self, layer: usize, stream: &Stream) {
        // All evaluations of a stream have had the same strength in the layers so far, and have it in this one.
        let is_prefix = stream.evaluations[0].profile.prefix_layers() > layer;
        if is_prefix && self.boundaries.contains(&layer) {
            self.hidden.insert(layer, stream.hidden.clone());
        }
    }

    /// The evaluations by the layer that they start with: where their profiles leave the prefix stream, if its states there
    /// are kept for all of them, and otherwise the first layer.
    pub fn starts<'e>(&self, evaluations: &[Evaluation<'e>]) -> BTreeMap<usize, Vec<Evaluation<'e>>> {
        let leaves = |evaluation: &Evaluation| evaluation.profile.prefix_layers();
        let is_kept = evaluations.iter().all(|evaluation| self.hidden.contains_key(&leaves(evaluation)));
        let mut starts: BTreeMap<usize, Vec<Evaluation>> = BTreeMap::new();
        for &evaluation in evaluations {
            starts.entry(if is_kept { leaves(&evaluation) } else { 0 }).or_default().push(evaluation);
        }
        starts
    }

    /// The kept states before layer `layer`. They are not needed again: each boundary is evaluated once.
    pub fn take(&mut self, layer: usize) -> Option<Tensor> {
        self.hidden.remove(&layer)
    }
}
