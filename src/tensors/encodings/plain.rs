//! Numbers that are stored one after the other, widened to f32 by all processors.

use candle_core::{Device, Result as TensorResult, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{Encoding, Rows};
use crate::tensors::float8::{e4m3_to_f32, e5m2_to_f32};
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
