//! The gated delta net in plain tensor operations, which have derivatives: slow, and what the fast code is tested against.

use std::ops::Range;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::silu;

use crate::kernel::attention::Span;
use crate::kernel::delta_rule::DeltaSizes;

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

/// What is left of the tokens before: inputs of the convolution, (taps − 1, channels), and memories, (heads, key, value).
#[derive(Clone)]
struct State {
    inputs: Tensor,
    memories: Tensor,
}

/// (rows, values) of sequences, each behind its prefix.
pub fn run(sizes: DeltaSizes, own: &Parameters, projected: &Projected, sequences: &[Span]) -> Result<Tensor> {
    let (dtype, device) = (projected.inputs.dtype(), projected.inputs.device());
    let start = State {
        inputs: Tensor::zeros((sizes.taps - 1, sizes.channels()), dtype, device)?,
        memories: Tensor::zeros((sizes.value_heads, sizes.key_size, sizes.value_size), dtype, device)?,
    };
    let mut prefix = start.clone();
    let mut read = Vec::with_capacity(sequences.len());
    // The prefix, if there is one, is the first sequence, and has none itself.
    for sequence in sequences {
        let is_prefix = sequence.prefix.is_empty() && sequence.queries.start == 0 && sequences.len() > 1;
        let behind = if sequence.prefix.is_empty() { start.clone() } else { prefix.clone() };
        let (values, state) = sequence_of(sizes, own, projected, &sequence.queries, behind)?;
        read.push(values);
        if is_prefix {
            prefix = state;
        }
    }
    Tensor::cat(&read, 0)
}

/// The rows of one sequence, and the state behind them.
fn sequence_of(
    sizes: DeltaSizes,
    own: &Parameters,
    projected: &Projected,
    rows: &Range<usize>,
    state: State,
) -> Result<(Tensor, State)> {
    let part = |x: &Tensor| x.narrow(0, rows.start, rows.len());
    let all = Tensor::cat(&[&state.inputs, &part(&projected.inputs)?], 0)?;
    let tap = |tap: usize| all.narrow(0, tap, rows.len())?.broadcast_mul(&own.filters.narrow(1, tap, 1)?.t()?);
    let mut mixed = tap(0)?;
    for place in 1..sizes.taps {
        mixed = (mixed + tap(place)?)?;
    }
    let mixed = silu(&mixed)?;
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
    let inputs = all.narrow(0, rows.len(), sizes.taps - 1)?;
    Ok((Tensor::cat(&read, 0)?, State { inputs, memories }))
}
