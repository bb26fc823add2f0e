//! The prefix stream, on which the whole adapter acts: its states before some layers are kept, so that boundaries that are
//! evaluated later start from there.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::profile::{self, Profile};
use super::stream::{Evaluation, Stream};
use crate::error::Result;

/// States of one adapter's prefix stream on one batch.
pub struct KeptPrefix {
    /// The boundaries that may be evaluated at all.
    boundaries: BTreeSet<usize>,
    /// By boundary, the states before the layer.
    hidden: BTreeMap<usize, Tensor>,
}

impl KeptPrefix {
    pub fn new(boundaries: BTreeSet<usize>) -> Self {
        Self { boundaries, hidden: BTreeMap::new() }
    }

    /// Keeps the states of a stream before layer `layer`, if it is the prefix stream and the boundary may be evaluated.
    pub fn keep(&mut self, layer: usize, stream: &Stream) {
        // At its layer all evaluations of a stream have had the same strengths.
        let is_prefix = stream.evaluations[0].profile.full_below() > layer;
        if is_prefix && self.boundaries.contains(&layer) {
            self.hidden.insert(layer, stream.hidden.clone());
        }
    }

    /// Whether all evaluations can start from kept states.
    fn covers(&self, evaluations: &[Evaluation]) -> bool {
        evaluations.iter().all(|evaluation| self.hidden.contains_key(&evaluation.profile.full_below()))
    }

    /// The evaluations by the layer that they start with, and the states there: `first` is those before layer 0. What is
    /// taken from the kept states is not needed again.
    pub fn start<'e>(
        &mut self,
        evaluations: &[Evaluation<'e>],
        first: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Vec<(usize, Vec<Evaluation<'e>>, Tensor)>> {
        if evaluations.is_empty() {
            return Ok(Vec::new());
        }
        if !self.covers(evaluations) {
            return Ok(vec![(0, evaluations.to_vec(), first()?)]);
        }
        let mut by_layer: BTreeMap<usize, Vec<Evaluation>> = BTreeMap::new();
        for evaluation in evaluations {
            by_layer.entry(evaluation.profile.full_below()).or_default().push(*evaluation);
        }
        let start = |(layer, own)| Some((layer, own, self.hidden.remove(&layer)?));
        Ok(by_layer.into_iter().filter_map(start).collect())
    }

    /// The number of layers that all streams of a token go through together.
    pub fn layer_passes(&self, evaluations: &[Evaluation]) -> u64 {
        let profiles: Vec<&Profile> = evaluations.iter().map(|evaluation| evaluation.profile).collect();
        let is_covered = self.covers(evaluations);
        let start = |profile: &&Profile| if is_covered { profile.full_below() } else { 0 };
        profile::layer_passes(&profiles, &profiles.iter().map(start).collect::<Vec<_>>())
    }
}
