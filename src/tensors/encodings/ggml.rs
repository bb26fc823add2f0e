//! GGML's blocks of quantised values, in all types that candle dequantises.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result as TensorResult, Tensor};
use rayon::prelude::*;

use super::plain::CHUNK;
use super::{Encoding, Rows};
use crate::tensors::stored::StoredType;

#[derive(Debug)]
pub struct Ggml;

impl Encoding for Ggml {
    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        let StoredType::Ggml(dtype) = rows.dtype(0) else { return Ok(None) };
        let values = rows.bytes(0, |bytes| dequantise(bytes, dtype))?;
        Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu).map(Some)
    }
}

/// candle dequantises on one processor, so the blocks go to it in chunks.
fn dequantise(bytes: &[u8], dtype: GgmlDType) -> TensorResult<Vec<f32>> {
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
