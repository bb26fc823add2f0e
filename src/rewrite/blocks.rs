//! Numbers of 8 bits in blocks, as ggml's `Q8_0` has them: 32 of a row share one scale of 16 bits.

use half::f16;
use rayon::prelude::*;

/// The numbers that share a scale.
pub const BLOCK: usize = 32;

/// The bytes of a block.
pub const BLOCK_BYTES: usize = BLOCK + size_of::<f16>();

const LARGEST: f32 = 127.0;

/// The numbers that blocks of these numbers stand for, whose count is a multiple of [`BLOCK`]; `None` if a scale is beyond f16. They
/// are blocks already: rounding them again gives the same (`ggml-quants.c`, `quantize_row_q8_0_ref`).
pub fn rounded(values: &[f32]) -> Option<Vec<f32>> {
    let mut rounded = values.to_vec();
    let are_finite =
        rounded.par_chunks_mut(BLOCK).with_min_len(1024).map(round).reduce(|| true, |one, other| one && other);
    are_finite.then_some(rounded)
}

fn round(block: &mut [f32]) -> bool {
    let scale = block.iter().fold(0f32, |most, value| most.max(value.abs())) / LARGEST;
    let inverse = if scale == 0.0 { 0.0 } else { scale.recip() };
    let stored = f16::from_f32(scale);
    // Halves away from zero, as ggml rounds.
    block.iter_mut().for_each(|value| *value = (*value * inverse).round() * stored.to_f32());
    stored.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rounded_once() {
        let values: Vec<f32> = (0..4 * BLOCK)
            .map(|place| ((place * 37 % 101) as f32 - 50.0) * 1e-3 * (1 + place / BLOCK) as f32)
            .collect();
        let once = rounded(&values).unwrap();
        let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(values.iter().zip(&once).all(|(value, rounded)| (value - rounded).abs() <= largest / LARGEST));
        assert_ne!(once, values);
        assert_eq!(rounded(&once).unwrap(), once);
        assert_eq!(rounded(&[0.0; BLOCK]).unwrap(), [0.0; BLOCK]);
        assert!(rounded(&[1e9; BLOCK]).is_none());
    }
}
