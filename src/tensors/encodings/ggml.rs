//! GGML's blocks of quantised values: those that candle dequantises, and those of [`block_types`](crate::tensors::block_types).

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result as TensorResult, Tensor};
use rayon::prelude::*;

use super::plain::CHUNK;
use super::{Encoding, Rows};
use crate::tensors::block_types::BlockType;
use crate::tensors::stored::StoredType;

#[derive(Debug)]
pub struct Ggml;

impl Encoding for Ggml {
    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        let values = match rows.dtype(0) {
            StoredType::Plain(_) => return Ok(None),
            StoredType::Ggml(dtype) => rows.bytes(0, |bytes| by_candle(bytes, dtype))?,
            StoredType::Blocks(kind) => rows.bytes(0, |bytes| by_block(bytes, kind)),
        };
        Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu).map(Some)
    }
}

/// candle dequantises on one processor, so the blocks go to it in chunks.
fn by_candle(bytes: &[u8], dtype: GgmlDType) -> TensorResult<Vec<f32>> {
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

fn by_block(bytes: &[u8], kind: &BlockType) -> Vec<f32> {
    let mut values = vec![0f32; bytes.len() / kind.bytes * kind.values];
    values
        .par_chunks_exact_mut(kind.values)
        .with_min_len(CHUNK / kind.values)
        .zip(bytes.par_chunks_exact(kind.bytes))
        .for_each(|(values, block)| (kind.dequantise)(block, values));
    values
}
