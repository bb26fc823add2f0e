//! What evaluations will cost in work, bytes read and time, estimated before they begin.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::evaluate::MOST_STREAMS;
use super::subject::{OnFailure, OpenedAdapter, Subject};
use super::{Base, Request};
use crate::error::Result;
use crate::measure::{self, OnProgress, Sweep, Work};
use crate::model::AdaptedModel;
use crate::samples::Sample;

/// With this many tokens, loading the weights of a layer costs little compared with using them.
const CALIBRATION_TOKENS: usize = 512;

/// The cost of evaluating adapters of one base model, with all boundaries on all samples; a search costs less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    pub work: Work,
    /// The bytes of base weights that are read.
    pub bytes: u64,
    pub time: Duration,
}

impl std::ops::AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.work += other.work;
        self.bytes += other.bytes;
        self.time += other.time;
    }
}

/// Estimates the evaluation of adapters of `base` on the same samples, from the time that a few of these take. Passes an adapter
/// that cannot be evaluated to `on_failure`, with the index of its request.
pub fn estimate(
    base: &Base,
    requests: &[&Request],
    on_progress: OnProgress,
    on_failure: OnFailure,
) -> Result<Estimate> {
    let adapters = OpenedAdapter::open_all(base, requests, on_failure)?;
    let subjects = Subject::all(&adapters, base, &mut *on_progress, on_failure)?;
    let Some((first, &request)) = subjects.first().zip(requests.first()) else { return Ok(Estimate::default()) };
    let adapted: Vec<&AdaptedModel> = subjects.iter().map(|subject| &subject.adapted).collect();
    let samples = &first.inputs.choosing.samples;
    let mut work = Work::default();
    for together in adapted.chunks((MOST_STREAMS / measure::candidates(first.adapted.adapter()).len()).max(1)) {
        // Adapters that do not fit into memory together go through one by one.
        let shared = measure::exhaustive_work(together, samples, &request.compute).map(|work| vec![work]);
        let alone =
            || together.iter().map(|&one| measure::exhaustive_work(&[one], samples, &request.compute)).collect();
        for part in shared.or_else(|_| alone())? {
            work += part;
        }
    }
    let per_token = time_per_layer_token(&first.adapted, samples, request, on_progress)?;
    let layers = base.model.config.layers as u64;
    let bytes = work.passes as u64 * layers * base.model.layer_bytes();
    Ok(Estimate { work, bytes, time: Duration::from_secs_f64(per_token * work.layer_tokens as f64) })
}

/// The seconds per token and layer, measured with the whole adapter and with the base model.
fn time_per_layer_token(
    adapted: &AdaptedModel,
    samples: &[Sample],
    request: &Request,
    on_progress: OnProgress,
) -> Result<f64> {
    let mut tokens = 0;
    let few = samples.iter().take_while(|sample| {
        let is_enough = tokens >= CALIBRATION_TOKENS;
        tokens += sample.ids.len();
        !is_enough
    });
    let few: Vec<Sample> = few.cloned().collect();
    let together = [adapted];
    let mut sweep = Sweep::new(&together, &few, vec![(0..few.len()).collect()], &request.compute)?;
    let candidates = measure::candidates(adapted.adapter());
    let both: BTreeSet<usize> = candidates.first().into_iter().chain(candidates.last()).copied().collect();
    let start = Instant::now();
    sweep.run(0, &[both], on_progress)?;
    let done: u64 = sweep.work.iter().map(|work| work.layer_tokens).sum();
    Ok(start.elapsed().as_secs_f64() / done.max(1) as f64)
}
