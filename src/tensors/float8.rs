//! Floating-point numbers of eight bits.

use half::f16;

/// An 8-bit number with 4 bits of exponent, whose bias is 7, and 3 of mantissa. It has no infinities, and one NaN of each sign
/// (PyTorch's `float8_e4m3fn`).
pub fn e4m3_to_f32(value: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(value >> 3 & 0xf), f32::from(value & 0x7));
    let magnitude = match (exponent, value & 0x7f) {
        (_, 0x7f) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if value & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The upper byte of an f16 (PyTorch's `float8_e5m2`).
pub fn e5m2_to_f32(value: u8) -> f32 {
    f16::from_bits(u16::from(value) << 8).to_f32()
}
