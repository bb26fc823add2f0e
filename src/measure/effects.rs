//! How much an adapter changes the output of each layer on the samples: a measure of its importance that needs no loss
//! (after LoRA-drop, arXiv 2402.07721, which takes the squared output of each module's pair).

use candle_core::Tensor;

use super::memory::Budget;
use super::stream::Stream;
use super::walk::walk_base_and_whole;
use super::{Activity, ComputeOptions, OnProgress};
use crate::error::Result;
use crate::model::{AdaptedModel, hidden_of};
use crate::samples::Sample;

/// For each layer of the model, the root mean square over tokens of ‖h′ − h‖: the layer's output with the adapter in it,
/// less its output without, on the same input. The adapter is on in all layers below.
pub fn effects(
    adapted: &AdaptedModel,
    samples: &[Sample],
    options: &ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<f64>> {
    let model = adapted.model();
    let budget = Budget::for_samples(model, 2, options.memory, samples)?;
    let mut sums = vec![(0.0, 0); model.config.layers];
    walk_base_and_whole(adapted, samples, &budget, (Activity::Effects, on_progress), |_, layers, streams| {
        let ([without, with], Some(layer)) = (streams, layers.checked_sub(1)) else { return Ok(()) };
        let (sum, rows) = &mut sums[layer];
        let hidden = |stream: &Stream| hidden_of(&stream.hidden, &model.config);
        *sum += squared_distance(&hidden(with)?, &hidden(without)?)?;
        *rows += with.hidden.dim(0)?;
        // Both go on from the states with the adapter.
        without.hidden = with.hidden.clone();
        Ok(())
    })?;
    Ok(sums.into_iter().map(|(sum, rows)| (sum / rows.max(1) as f64).sqrt()).collect())
}

fn squared_distance(one: &Tensor, other: &Tensor) -> candle_core::Result<f64> {
    let sums = (one - other)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    Ok(sums.iter().map(|&sum| f64::from(sum)).sum())
}
