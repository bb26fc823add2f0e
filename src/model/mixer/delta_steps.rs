//! The gated delta net in plain tensor operations, which have derivatives: slow, and what the fast code is tested against.

use std::ops::Range;

use candle_core::{D, Result, Tensor};

use super::sequences::{self, TensorState};
use crate::kernel::delta_rule::DeltaSizes;
use crate::model::Pass;

/// What is neither a linear map nor a norm.
#[derive(Clone)]
pub struct Parameters {
    /// (channels, taps)
    pub filters: Tensor,
    /// −e^A, and what is added to the decays: (value_heads)
    pub rates: Tensor,
    pub biases: Tensor,
}

/// What the projections make of hidden states.
pub struct Projected {
    /// (rows, channels)
    pub inputs: Tensor,
    /// ln of the decay, and β: (rows, value_heads)
    pub decays: Tensor,
    pub writes: Tensor,
}

/// (rows, values) of all sequences of a pass.
pub fn run(sizes: DeltaSizes, own: &Parameters, projected: &Projected, pass: &Pass) -> Result<Tensor> {
    let (dtype, device) = (projected.inputs.dtype(), projected.inputs.device());
    let start = TensorState {
        inputs: Tensor::zeros((sizes.taps - 1, sizes.channels()), dtype, device)?,
        memories: Tensor::zeros((sizes.value_heads, sizes.key_size, sizes.value_size), dtype, device)?,
    };
    sequences::run_plain(pass, &start, |rows, state| sequence_of(sizes, own, projected, rows, state))
}

/// The rows of one sequence, and the state behind them.
fn sequence_of(
    sizes: DeltaSizes,
    own: &Parameters,
    projected: &Projected,
    rows: &Range<usize>,
    state: TensorState,
) -> Result<(Tensor, TensorState)> {
    let part = |x: &Tensor| x.narrow(0, rows.start, rows.len());
    let (mixed, inputs) = sequences::convolve_silu(&own.filters, None, &part(&projected.inputs)?, &state.inputs)?;
    let keys = sizes.key_heads * sizes.key_size;
    let shared = sizes.value_heads / sizes.key_heads;
    let unit = |start: usize| -> Result<Tensor> {
        let x = mixed.narrow(1, start, keys)?.reshape((rows.len(), sizes.key_heads, 1, sizes.key_size))?;
        let x = x.broadcast_as((rows.len(), sizes.key_heads, shared, sizes.key_size))?;
        let x = x.reshape((rows.len(), sizes.value_heads, sizes.key_size))?;
        x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-6)?.sqrt()?)
    };
    let (queries, keys_of) = ((unit(0)? / (sizes.key_size as f64).sqrt())?, unit(keys)?);
    let values = mixed.narrow(1, 2 * keys, sizes.values())?;
    let values = values.reshape((rows.len(), sizes.value_heads, sizes.value_size))?;
    let (decays, writes) = (part(&projected.decays)?.exp()?, part(&projected.writes)?);
    let mut memories = state.memories;
    let mut read = Vec::with_capacity(rows.len());
    for token in 0..rows.len() {
        let by_head = |x: &Tensor| x.get(token)?.reshape((sizes.value_heads, 1, 1));
        let (key, query) = (keys_of.get(token)?.unsqueeze(2)?, queries.get(token)?.unsqueeze(2)?);
        memories = memories.broadcast_mul(&by_head(&decays)?)?;
        let held = memories.broadcast_mul(&key)?.sum_keepdim(1)?;
        let error = (values.get(token)?.unsqueeze(1)? - held)?.broadcast_mul(&by_head(&writes)?)?;
        memories = (memories + key.broadcast_mul(&error)?)?;
        read.push(memories.broadcast_mul(&query)?.sum(1)?.reshape((1, sizes.values()))?);
    }
    Ok((Tensor::cat(&read, 0)?, TensorState { inputs, memories }))
}
