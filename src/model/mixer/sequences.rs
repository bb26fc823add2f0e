//! Running the sequences of a pass through a mixer that keeps a state: each behind that of the prefix which it shares with others, or
//! of the tokens that its cache has seen.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::silu;
use rayon::prelude::*;

use super::LayerCache;
use crate::kernel::attention::Span;
use crate::kernel::recurrent::{RecurrentState, StateSizes};
use crate::model::Pass;
use crate::model::family::PromptAttention;
use crate::model::pass;

/// What the rows of one sequence become, (rows, width), behind a state, which is moved on.
pub type Step<'s> = dyn Fn(&Range<usize>, &mut RecurrentState) -> Vec<f32> + Sync + 's;

/// All rows of a pass by the fast code, sequences side by side: (rows, width).
pub fn run(
    pass: &Pass,
    cache: Option<&mut LayerCache>,
    sizes: StateSizes,
    width: usize,
    device: &Device,
    step: &Step,
) -> Result<Tensor> {
    let sequences: Vec<_> = pass.batch.sequences.iter().map(|sequence| sequence.rows.clone()).collect();
    let rows = sequences.iter().map(|rows| rows.end).max().unwrap_or(0).max(pass.batch.prefix);
    let mut all = vec![0.0; rows * width];
    let mut put = |rows: &Range<usize>, own: &[f32]| all[rows.start * width..rows.end * width].copy_from_slice(own);
    match (cache, &pass.cached) {
        (Some(cache), Some(sequences)) => {
            for Span { queries, keys, .. } in sequences {
                // A sequence that begins has no state yet, whatever was in its place.
                if queries.len() == keys.len() {
                    cache.states.remove(&keys.start);
                }
                let state = cache.states.entry(keys.start).or_insert_with(|| RecurrentState::new(sizes));
                put(queries, &step(queries, state));
            }
        }
        _ => {
            let mut state = RecurrentState::new(sizes);
            let prefix = 0..pass.batch.prefix;
            put(&prefix, &step(&prefix, &mut state));
            let own: Vec<Vec<f32>> = sequences.par_iter().map(|rows| step(rows, &mut state.clone())).collect();
            sequences.iter().zip(&own).for_each(|(rows, own)| put(rows, own));
        }
    }
    Tensor::from_vec(all, (rows, width), device)
}

/// The numbers of a tensor, which the fast code takes.
pub fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
}

/// A state in tensors, which have derivatives: inputs of the convolution, (taps − 1, channels), and memories.
#[derive(Clone)]
pub struct TensorState {
    pub inputs: Tensor,
    pub memories: Tensor,
}

/// All rows of a pass in plain tensor operations: slow, and what the fast code is tested against. `step` makes of the rows of one
/// sequence what they become, and the state behind them.
pub fn run_plain(
    pass: &Pass,
    start: &TensorState,
    step: impl Fn(&Range<usize>, TensorState) -> Result<(Tensor, TensorState)>,
) -> Result<Tensor> {
    let sequences = pass::all_rows(pass.batch, PromptAttention::Causal);
    let mut prefix = start.clone();
    let mut all = Vec::with_capacity(sequences.len());
    // The prefix, if there is one, is the first sequence, and has none itself.
    for sequence in &sequences {
        let is_prefix = sequence.prefix.is_empty() && sequence.queries.start == 0 && sequences.len() > 1;
        let behind = if sequence.prefix.is_empty() { start.clone() } else { prefix.clone() };
        let (rows, state) = step(&sequence.queries, behind)?;
        all.push(rows);
        if is_prefix {
            prefix = state;
        }
    }
    Tensor::cat(&all, 0)
}

/// The causal convolution of each channel by itself behind the inputs of a state: (rows, channels) → the same, and the inputs before
/// the next row. `filters` are (channels, taps), `bias` is (channels).
pub fn convolve(filters: &Tensor, bias: Option<&Tensor>, inputs: &Tensor, before: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, taps) = (inputs.dim(0)?, filters.dim(1)?);
    let all = Tensor::cat(&[before, inputs], 0)?;
    let tap = |tap: usize| all.narrow(0, tap, rows)?.broadcast_mul(&filters.narrow(1, tap, 1)?.t()?);
    let mut mixed = tap(0)?;
    for place in 1..taps {
        mixed = (mixed + tap(place)?)?;
    }
    let mixed = match bias {
        Some(bias) => mixed.broadcast_add(bias)?,
        None => mixed,
    };
    Ok((mixed, all.narrow(0, rows, taps - 1)?))
}

/// As [`convolve`], and SiLU of it.
pub fn convolve_silu(
    filters: &Tensor,
    bias: Option<&Tensor>,
    inputs: &Tensor,
    before: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (mixed, before) = convolve(filters, bias, inputs, before)?;
    Ok((silu(&mixed)?, before))
}

/// softplus, which is the number itself where its exponential would overflow
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
