//! Mamba-2 in plain tensor operations, which have derivatives: slow, and what the fast code is tested against.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::sequences::{self, TensorState, softplus};
use crate::model::Pass;
use crate::model::config::MambaConfig;

/// What is neither a linear map nor a norm.
#[derive(Clone)]
pub struct Parameters {
    /// (channels, taps)
    pub filters: Tensor,
    /// (channels)
    pub filter_bias: Option<Tensor>,
    /// What is added to the steps, A and D: (heads)
    pub step_biases: Tensor,
    pub rates: Tensor,
    pub skips: Tensor,
}

/// What the input projection makes of hidden states.
pub struct Projected {
    /// (rows, channels)
    pub inputs: Tensor,
    /// Before softplus: (rows, heads)
    pub steps: Tensor,
}

/// (rows, values) of all sequences of a pass.
pub fn run(config: &MambaConfig, own: &Parameters, projected: &Projected, pass: &Pass) -> Result<Tensor> {
    let (sizes, dtype, device) = (config.sizes, projected.inputs.dtype(), projected.inputs.device());
    let start = TensorState {
        inputs: Tensor::zeros((sizes.taps - 1, sizes.channels()), dtype, device)?,
        memories: Tensor::zeros((sizes.heads, sizes.head_size, sizes.state_size), dtype, device)?,
    };
    sequences::run_plain(pass, &start, |rows, state| sequence_of(config, own, projected, rows, state))
}

/// The rows of one sequence, and the state behind them.
fn sequence_of(
    config: &MambaConfig,
    own: &Parameters,
    projected: &Projected,
    rows: &Range<usize>,
    state: TensorState,
) -> Result<(Tensor, TensorState)> {
    let sizes = config.sizes;
    let part = |x: &Tensor| x.narrow(0, rows.start, rows.len());
    let bias = own.filter_bias.as_ref();
    let (mixed, inputs) = sequences::convolve_silu(&own.filters, bias, &part(&projected.inputs)?, &state.inputs)?;
    let values = mixed.narrow(1, 0, sizes.values())?.reshape((rows.len(), sizes.heads, sizes.head_size, 1))?;
    let groups = sizes.groups * sizes.state_size;
    let by_head = |start: usize| -> Result<Tensor> {
        let x = mixed.narrow(1, start, groups)?.reshape((rows.len(), sizes.groups, 1, sizes.state_size))?;
        let x = x.broadcast_as((rows.len(), sizes.groups, sizes.heads / sizes.groups, sizes.state_size))?;
        x.reshape((rows.len(), sizes.heads, 1, sizes.state_size))
    };
    let (keys, queries) = (by_head(sizes.values())?, by_head(sizes.values() + groups)?);
    let steps = within(&softplus(&part(&projected.steps)?)?, config.limits)?;
    let decays = steps.broadcast_mul(&own.rates)?.exp()?.reshape((rows.len(), sizes.heads, 1, 1))?;
    let written = values.broadcast_mul(&steps.reshape((rows.len(), sizes.heads, 1, 1))?)?;
    let mut memories = state.memories;
    let mut read = Vec::with_capacity(rows.len());
    for token in 0..rows.len() {
        let added = written.get(token)?.broadcast_mul(&keys.get(token)?)?;
        memories = (memories.broadcast_mul(&decays.get(token)?)? + added)?;
        read.push(memories.broadcast_mul(&queries.get(token)?)?.sum(2)?.unsqueeze(0)?);
    }
    let skipped = values.squeeze(3)?.broadcast_mul(&own.skips.reshape((sizes.heads, 1))?)?;
    let read = (Tensor::cat(&read, 0)? + skipped)?.reshape((rows.len(), sizes.values()))?;
    Ok((read, TensorState { inputs, memories }))
}

fn within(x: &Tensor, [least, largest]: [f64; 2]) -> Result<Tensor> {
    let x = if least > 0.0 { x.maximum(least)? } else { x.clone() };
    if largest.is_finite() { x.minimum(largest) } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::kernel::recurrent::{Filters, RecurrentState};
    use crate::kernel::state_space::{self, Shared, SpaceSizes, SpaceTokens};

    const SIZES: SpaceSizes = SpaceSizes { heads: 4, head_size: 3, state_size: 17, groups: 2, taps: 3 };
    const LIMITS: [f64; 2] = [0.3, 0.9];

    fn random(shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu)
    }

    #[test]
    fn the_fast_code_gives_the_same() -> Result<()> {
        let (rows, channels) = (9, SIZES.channels());
        let own = Parameters {
            filters: random((channels, SIZES.taps))?,
            filter_bias: None,
            step_biases: random(SIZES.heads)?,
            rates: random(SIZES.heads)?.abs()?.neg()?,
            skips: random(SIZES.heads)?,
        };
        let projected = Projected { inputs: random((rows, channels))?, steps: random((rows, SIZES.heads))? };
        let numbers = sequences::numbers;
        let (filters, bias) = (numbers(&own.filters)?, numbers(&random(channels)?)?);
        let own = Parameters { filter_bias: Some(Tensor::new(bias.as_slice(), &Device::Cpu)?), ..own };
        let (rates, skips) = (numbers(&own.rates)?, numbers(&own.skips)?);
        let shared = Shared {
            filters: Filters { values: &filters, bias: Some(&bias), taps: SIZES.taps },
            rates: &rates,
            skips: &skips,
            limits: LIMITS.map(|limit| limit as f32),
        };
        let tokens = (numbers(&projected.inputs)?, numbers(&projected.steps)?);
        let tokens = SpaceTokens { inputs: &tokens.0, steps: &tokens.1 };
        let fast = state_space::run(SIZES, shared, tokens, &mut RecurrentState::new(SIZES.state()));

        let config = MambaConfig {
            sizes: SIZES,
            limits: LIMITS,
            has_norm: true,
            gate_first: true,
            input_scale: 1.0,
            output_scale: 1.0,
            scales_of_parts: [1.0; 5],
        };
        let state = TensorState {
            inputs: random((SIZES.taps - 1, channels))?.zeros_like()?,
            memories: random((SIZES.heads, SIZES.head_size, SIZES.state_size))?.zeros_like()?,
        };
        let (first, state) = sequence_of(&config, &own, &projected, &(0..4), state)?;
        let (second, _) = sequence_of(&config, &own, &projected, &(4..rows), state)?;
        let plain = numbers(&Tensor::cat(&[first, second], 0)?)?;
        assert!(fast.iter().zip(&plain).all(|(fast, plain)| (fast - plain).abs() < 1e-4), "{fast:?} and {plain:?}");
        Ok(())
    }
}
