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

    fn is_finite(&self, rows: &Rows) -> Option<bool> {
        let StoredType::Plain(dtype) = rows.dtype(0) else { return None };
        rows.bytes(0, |bytes| {
            Some(match dtype {
                Dtype::F32 => all(bytes, |value| f32::from_le_bytes(value).is_finite()),
                Dtype::F16 => all(bytes, |value| f16::from_le_bytes(value).is_finite()),
                Dtype::BF16 => all(bytes, |value| bf16::from_le_bytes(value).is_finite()),
                Dtype::F64 => all(bytes, |value| (f64::from_le_bytes(value) as f32).is_finite()),
                Dtype::F8_E4M3 => all(bytes, |[value]| e4m3_to_f32(value).is_finite()),
                Dtype::F8_E5M2 => all(bytes, |[value]| e5m2_to_f32(value).is_finite()),
                _ => return None,
            })
        })
    }
}

/// Whether all numbers are as `is` says. Without a branch for each, the compiler compares many at a time.
fn all<const SIZE: usize>(bytes: &[u8], is: impl Fn([u8; SIZE]) -> bool) -> bool {
    let (numbers, _) = bytes.as_chunks::<SIZE>();
    numbers.chunks(CHUNK).all(|numbers| numbers.iter().fold(true, |all, &number| all & is(number)))
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

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::tensors::TensorStore;

    /// Each value lies at the end of a tensor. Decoding is the oracle.
    #[test]
    fn finite_is_what_decodes_to_finite_numbers() {
        let bits32 = [0.0, -0.0, 1e-45, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN].map(f32::to_le_bytes);
        let bits64 = [0.0, 1e300, -1e300, f64::from(f32::MAX), f64::INFINITY, f64::NAN].map(f64::to_le_bytes);
        let halves: Vec<[u8; 2]> =
            (0..=u16::MAX).step_by(0x7f).chain([0x7c00, 0xfc00, 0x7f80, 0xff80]).map(u16::to_le_bytes).collect();
        let eights: Vec<[u8; 1]> = (0..=u8::MAX).map(|byte| [byte]).collect();
        let mut values: Vec<(Dtype, Vec<u8>)> = Vec::new();
        values.extend(bits32.map(|value| (Dtype::F32, value.to_vec())));
        values.extend(bits64.map(|value| (Dtype::F64, value.to_vec())));
        for dtype in [Dtype::F16, Dtype::BF16] {
            values.extend(halves.iter().map(|value| (dtype, value.to_vec())));
        }
        for dtype in [Dtype::F8_E4M3, Dtype::F8_E5M2] {
            values.extend(eights.iter().map(|value| (dtype, value.to_vec())));
        }
        let bytes: Vec<Vec<u8>> =
            values.iter().map(|(_, value)| [vec![0; 2 * value.len()], value.clone()].concat()).collect();
        let views = values.iter().zip(&bytes).enumerate();
        let views = views.map(|(place, ((dtype, _), bytes))| {
            (place.to_string(), TensorView::new(*dtype, vec![3, 1], bytes).unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.safetensors");
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let store = TensorStore::open_safetensors(&path).unwrap();
        let mut counts = [0, 0];
        for (place, value) in values.iter().enumerate() {
            let is_finite = store.is_finite(&place.to_string()).unwrap();
            assert_eq!(is_finite, store.load_finite(&place.to_string()).is_ok(), "{value:?}");
            counts[usize::from(is_finite)] += 1;
        }
        assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
    }
}
