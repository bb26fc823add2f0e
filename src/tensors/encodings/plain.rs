//! Numbers that are stored one after the other, widened to f32 by all processors.

use candle_core::{Device, Result as TensorResult, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{Encoding, Rows};
use crate::tensors::stored::StoredType;

/// Values that one task widens: large enough to be worth a task, small enough to share a matrix among processors.
pub const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub struct Plain;

impl Encoding for Plain {
    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        let StoredType::Plain(dtype) = rows.dtype(0) else { return Ok(None) };
        let values = rows.bytes(0, |bytes| {
            Some(match dtype {
                Dtype::F32 => widen(bytes, f32::from_le_bytes),
                Dtype::F16 => widen(bytes, |value| f16::from_le_bytes(value).to_f32()),
                Dtype::BF16 => widen(bytes, |value| bf16::from_le_bytes(value).to_f32()),
                Dtype::F64 => widen(bytes, |value| f64::from_le_bytes(value) as f32),
                Dtype::F8_E4M3 => widen(bytes, |[value]| e4m3_to_f32(value)),
                Dtype::F8_E5M2 => widen(bytes, |[value]| e5m2_to_f32(value)),
                _ => return None,
            })
        });
        values.map(|values| Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu)).transpose()
    }

    fn bf16(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        if rows.dtype(0) != StoredType::Plain(Dtype::BF16) {
            return Ok(None);
        }
        let values: Vec<bf16> = rows.bytes(0, |bytes| {
            let (numbers, _) = bytes.as_chunks::<2>();
            numbers.par_iter().with_min_len(CHUNK).map(|&number| bf16::from_le_bytes(number)).collect()
        });
        Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu).map(Some)
    }
}

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

fn widen<const SIZE: usize>(bytes: &[u8], convert: impl Fn([u8; SIZE]) -> f32 + Sync) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<SIZE>();
    let mut values = vec![0f32; numbers.len()];
    values.par_chunks_mut(CHUNK).zip(numbers.par_chunks(CHUNK)).for_each(|(values, numbers)| {
        for (value, &number) in values.iter_mut().zip(numbers) {
            *value = convert(number);
        }
    });
    values
}
