//! MXFP4 as gpt-oss stores its experts in safetensors: numbers of four bits in blocks of 32 with one exponent each.
//!
//! Format and order are those of transformers (`integrations/mxfp4.py`): `…_blocks` holds two numbers in a byte, the
//! lower half first, and `…_scales` the exponent, 127 being 2⁰.

/// The numbers that four bits stand for.
const VALUES: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Numbers of a block, and the bytes that they take.
pub const BLOCK: usize = 32;
const BLOCK_BYTES: usize = BLOCK / 2;

/// The numbers of some blocks and their exponents.
pub fn decode(blocks: &[u8], exponents: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(blocks.len() * 2);
    for (block, &exponent) in blocks.chunks_exact(BLOCK_BYTES).zip(exponents) {
        let scale = 2f32.powi(i32::from(exponent) - 127);
        for byte in block {
            values.extend([byte & 15, byte >> 4].map(|half| VALUES[usize::from(half)] * scale));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_half_comes_first() {
        let mut blocks = [0u8; 2 * BLOCK_BYTES];
        (blocks[0], blocks[BLOCK_BYTES]) = (0x17, 0xf0);
        let values = decode(&blocks, &[128, 126]);
        assert_eq!(values.len(), 2 * BLOCK);
        assert_eq!((values[0], values[1], values[2]), (12.0, 1.0, 0.0));
        assert_eq!((values[BLOCK], values[BLOCK + 1]), (0.0, -3.0));
    }
}
