//! How much an adapter changes what each layer gives, on the samples: a measure of its importance that needs no loss
//! (after LoRA-drop, arXiv 2402.07721, which takes the squared output of each module's pair).

use candle_core::Tensor;

use super::layers::AdaptedLayer;
use super::walk::Stream;
use super::{ComputeOptions, OnProgress, Progress, Strength, Sweep};
use crate::error::Result;
use crate::model::{AdaptedModel, Pass};
use crate::samples::Sample;

/// For each layer of the model, the root mean square over tokens of ‖h′ − h‖: what the layer makes of the hidden states
/// with the adapter in it, less what it makes of the same states without. The adapter is on in all layers below.
pub fn effects(
    ends: &AdaptedModel,
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<f64>> {
    let (ends, model) = ([ends], ends.model());
    let mut sweep = Sweep::of_streams(2, &ends, samples, vec![(0..samples.len()).collect()], options)?;
    let layers = model.config.layers;
    let mut sums = vec![(0.0, 0); layers];
    let batches = &sweep.parts[0].batches;
    let total = batches.iter().map(|batch| 2 * (layers * batch.tokens()) as u64).sum();
    let mut done = 0;
    for (pass, batch) in batches.iter().enumerate() {
        let way = Pass::new(model, batch)?;
        let mut hidden = ends[0].first_hidden(batch)?;
        for (layer, (sum, rows)) in sums.iter_mut().enumerate() {
            let mut pair = [Strength::FULL, Strength::NONE].map(|strength| Stream::with(0, strength, hidden.clone()));
            let mut streams: Vec<&mut Stream> = pair.iter_mut().collect();
            let adapted =
                AdaptedLayer::load(&mut sweep.layers, &ends, layer, streams.iter().map(|stream| stream.way()))?;
            let count = streams.len();
            adapted.take(&mut streams, &way, count, &mut |tokens| {
                done += tokens;
                on_progress(Progress { pass, passes: batches.len(), layer, done, total })
            })?;
            let [with, without] = pair;
            *sum += squared_distance(&with.hidden, &without.hidden)?;
            *rows += with.hidden.dim(0)?;
            hidden = with.hidden;
        }
    }
    Ok(sums.into_iter().map(|(sum, rows)| (sum / rows.max(1) as f64).sqrt()).collect())
}

fn squared_distance(one: &Tensor, other: &Tensor) -> candle_core::Result<f64> {
    let sums = (one - other)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    Ok(sums.iter().map(|&sum| f64::from(sum)).sum())
}
