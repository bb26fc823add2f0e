//! The factors and caps that some families put on hidden states, attention scores and logits.

use candle_core::{Result as TensorResult, Tensor};

/// x · scale, without a copy if that is x.
pub(super) fn scaled(x: Tensor, scale: f64) -> TensorResult<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}

/// c·tanh(x / c), or x without c.
pub(super) fn softcapped(x: Tensor, cap: Option<f64>) -> TensorResult<Tensor> {
    match cap {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}
