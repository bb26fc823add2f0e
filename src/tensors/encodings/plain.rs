//! Widening stored values to f32, by all processors.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::tensors::Encoding;

/// Values that one task widens: large enough to be worth a task, small enough to share a matrix among processors.
const CHUNK: usize = 64 * 1024;

/// The values of `bytes` as f32, or `None` where the encoding is not one of weights.
pub fn to_f32(bytes: &[u8], encoding: Encoding) -> Result<Option<Vec<f32>>> {
    let values = match encoding {
        Encoding::Plain(Dtype::F32) => widen(bytes, f32::from_le_bytes),
        Encoding::Plain(Dtype::F16) => widen(bytes, |value| f16::from_le_bytes(value).to_f32()),
        Encoding::Plain(Dtype::BF16) => widen(bytes, |value| bf16::from_le_bytes(value).to_f32()),
        Encoding::Plain(Dtype::F64) => widen(bytes, |value| f64::from_le_bytes(value) as f32),
        Encoding::Plain(_) => return Ok(None),
        Encoding::Blocks(dtype) => dequantise(bytes, dtype)?,
    };
    Ok(Some(values))
}

/// The values of `bytes` that are bf16, as they are.
pub fn bf16s(bytes: &[u8]) -> Vec<bf16> {
    let (numbers, _) = bytes.as_chunks::<2>();
    numbers.par_iter().with_min_len(CHUNK).map(|&number| bf16::from_le_bytes(number)).collect()
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

/// candle dequantises on one processor, so the blocks are dealt out in chunks.
fn dequantise(bytes: &[u8], dtype: GgmlDType) -> Result<Vec<f32>> {
    let blocks_per_chunk = CHUNK / dtype.block_size();
    let mut values = vec![0f32; bytes.len() / dtype.type_size() * dtype.block_size()];
    values
        .par_chunks_mut(blocks_per_chunk * dtype.block_size())
        .zip(bytes.par_chunks(blocks_per_chunk * dtype.type_size()))
        .try_for_each(|(values, bytes)| {
            let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype)?;
            let chunk = QTensor::new(storage, values.len())?.dequantize(&Device::Cpu)?.to_vec1::<f32>()?;
            values.copy_from_slice(&chunk);
            Ok(())
        })
        .map(|()| values)
}
