//! What evaluations will take, before they are begun.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::evaluate::{Subject, open_adapter};
use super::{Base, Request};
use crate::error::Result;
use crate::model::Ends;
use crate::samples::Sample;
use crate::sweep::{self, Sweep, Watch, Work};

/// Tokens that are enough for the weights of a layer to cost little against using them.
const CALIBRATION_TOKENS: usize = 512;

/// What the evaluation of adapters of one base model takes, if all boundaries are evaluated on all samples; a search takes less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Price {
    pub work: Work,
    /// Read of the base model's weights.
    pub bytes: u64,
    pub time: Duration,
}

/// Prices the evaluation of adapters with the same samples on `base`. The time is measured on a few of the samples. What is wrong
/// with an adapter is given to `failed`, with its place among the requests.
pub fn price(
    base: &Base,
    requests: &[&Request],
    watch: Watch,
    failed: &mut dyn FnMut(usize, crate::Error) -> Result<()>,
) -> Result<Price> {
    let mut adapters = Vec::new();
    for (place, &request) in requests.iter().enumerate() {
        match open_adapter(request) {
            Ok(adapter) => adapters.push((place, request, adapter)),
            Err(error) => failed(place, error)?,
        }
    }
    let mut subjects = Vec::new();
    for (place, request, adapter) in &adapters {
        match Subject::new(*place, request, adapter, base) {
            Ok(subject) => subjects.push(subject),
            Err(error) => failed(*place, error)?,
        }
    }
    let Some((first, &request)) = subjects.first().zip(requests.first()) else { return Ok(Price::default()) };
    let ends: Vec<&Ends> = subjects.iter().map(|subject| &subject.ends).collect();
    let samples = &first.inputs.choosing.samples;
    let work = sweep::exhaustive_work(&ends, samples, &request.sweep)?;
    let per_token = time_per_layer_token(&first.ends, samples, request, watch)?;
    let layers = base.model.config.layers as u64;
    let bytes = work.passes as u64 * layers * base.model.layer_bytes();
    Ok(Price { work, bytes, time: Duration::from_secs_f64(per_token * work.layer_tokens as f64) })
}

/// The seconds that a token takes in a layer, measured with the whole adapter and with none of it.
fn time_per_layer_token(ends: &Ends, samples: &[Sample], request: &Request, watch: Watch) -> Result<f64> {
    let mut tokens = 0;
    let few = samples.iter().take_while(|sample| {
        let is_enough = tokens >= CALIBRATION_TOKENS;
        tokens += sample.ids.len();
        !is_enough
    });
    let few: Vec<Sample> = few.cloned().collect();
    let together = [ends];
    let mut sweep = Sweep::new(&together, &few, vec![(0..few.len()).collect()], &request.sweep)?;
    let candidates = sweep::candidates(ends.adapter());
    let both: BTreeSet<usize> = candidates.first().into_iter().chain(candidates.last()).copied().collect();
    let start = Instant::now();
    sweep.run(0, &[both], watch)?;
    let done: u64 = sweep.work.iter().map(|work| work.layer_tokens).sum();
    Ok(start.elapsed().as_secs_f64() / done.max(1) as f64)
}
