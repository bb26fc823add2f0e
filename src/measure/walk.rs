//! The walk over the layers. The curve, the lens, effects and generation differ only in the streams that they send
//! through and in what they observe between layers.

use std::collections::BTreeMap;

use super::layers::{Keep, Layers};
use super::memory::Budget;
use super::profile::Profile;
use super::stream::{Member, Stream};
use super::{Activity, OnProgress, Progress, Work};
use crate::error::{ComputeError, Result};
use crate::model::{AdaptedModel, Pass};
use crate::samples::Sample;
use crate::samples::packing::{self, Batch};

/// One walk of streams through all layers.
pub struct Walk<'w, 'm, 'p> {
    pub layers: &'w mut Layers<'m>,
    /// How many streams go through a layer at the same time.
    pub side_by_side: usize,
    pub tracker: &'w mut Tracker<'p>,
}

impl Walk<'_, '_, '_> {
    /// Takes streams, which are given by their first layer, through the layers. A stream forks where the profiles of its
    /// members begin to differ. `observe` sees all streams behind each number of layers, up to all of them: after forks,
    /// before the next layer.
    pub fn run<'s>(
        self,
        mut starting: BTreeMap<usize, Vec<Stream<'s>>>,
        mut observe: impl FnMut(usize, &mut [Stream<'s>]) -> Result<()>,
    ) -> Result<()> {
        let count = self.layers.count();
        let mut streams: Vec<Stream> = Vec::new();
        for index in starting.keys().next().copied().unwrap_or(count)..count {
            streams.extend(starting.remove(&index).into_iter().flatten());
            streams = streams.into_iter().flat_map(|stream| stream.fork(index)).collect();
            observe(index, &mut streams)?;
            let layer = self.layers.load(index, &streams)?;
            layer.advance(&mut streams, self.side_by_side, self.tracker)?;
            self.layers.release(layer);
        }
        streams.extend(starting.into_values().flatten());
        observe(count, &mut streams)
    }
}

/// Takes the base model and the whole adapter through the layers side by side, batch by batch: two layer passes for each
/// layer. `observe` sees the two streams, in this order.
pub fn walk_base_and_whole(
    adapted: &AdaptedModel,
    samples: &[Sample],
    budget: &Budget,
    (activity, on_progress): (Activity, OnProgress),
    mut observe: impl FnMut(&Pass, usize, &mut [Stream]) -> Result<()>,
) -> Result<Work> {
    let (model, models) = (adapted.model(), [adapted]);
    let batches = packing::plan(samples, budget.tokens_per_pass(), model.shares_prefixes());
    let profiles = [0, model.config.layers].map(|boundary| Profile::below(boundary, model.config.layers));
    let cost = |batch: &Batch| (profiles.len() * model.config.layers * batch.tokens()) as u64;
    let work = Work { passes: batches.len(), layer_tokens: batches.iter().map(cost).sum() };
    let mut tracker = Tracker::new(activity, work.passes, work.layer_tokens, on_progress);
    let mut layers = Layers::new(&models, Keep::Nothing);
    for (index, batch) in batches.iter().enumerate() {
        tracker.start_pass(index);
        let pass = Pass::new(model, batch)?;
        let hidden = adapted.first_hidden(batch)?;
        let stream = |one| Stream::new(&pass, 0, vec![one], hidden.clone());
        let streams = BTreeMap::from([(0, Member::of_profiles(0, &profiles).map(stream).collect())]);
        drop(hidden);
        let side_by_side = budget.streams_side_by_side(batch.tokens(), model.device()).min(profiles.len());
        let walk = Walk { layers: &mut layers, side_by_side, tracker: &mut tracker };
        walk.run(streams, |layers, streams| observe(&pass, layers, streams))?;
    }
    Ok(work)
}

/// Reports the progress of walks, and interrupts them if the caller wants that.
pub struct Tracker<'a> {
    on_progress: OnProgress<'a>,
    pub progress: Progress,
}

impl<'a> Tracker<'a> {
    pub fn new(activity: Activity, passes: usize, total: u64, on_progress: OnProgress<'a>) -> Self {
        Self { on_progress, progress: Progress { activity, pass: 0, passes, layer: 0, done: 0, total } }
    }

    pub fn start_pass(&mut self, pass: usize) {
        self.progress.pass = pass;
    }

    /// Counts tokens that went through a layer. The error ends the walk.
    pub fn advance(&mut self, layer: usize, tokens: u64) -> Result<()> {
        self.progress.layer = layer;
        self.progress.done += tokens;
        if (self.on_progress)(self.progress) { Ok(()) } else { Err(ComputeError::Interrupted.into()) }
    }
}
