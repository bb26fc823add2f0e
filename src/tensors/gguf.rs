//! What a GGUF file holds: where its tensors lie, and its metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use safetensors::Dtype;

use super::gguf_header::{self, TensorInfo};
use super::map::WeightFile;
use super::stored::{Stored, StoredType};
use crate::error::{Result, TensorError};

/// The key–value part of a GGUF file, with readers for the types of value that are used here.
#[derive(Debug)]
pub struct Metadata(HashMap<String, Value>);

impl Metadata {
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub fn string(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_string().ok().map(String::as_str)
    }

    pub fn integer(&self, key: &str) -> Option<u64> {
        integer(self.0.get(key)?)?.try_into().ok()
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        let value = self.0.get(key)?;
        value.to_f64().ok().or_else(|| value.to_f32().ok().map(f64::from))
    }

    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.to_bool().ok()
    }

    pub fn strings(&self, key: &str) -> Option<Vec<&str>> {
        self.array(key)?.iter().map(|value| value.to_string().ok().map(String::as_str)).collect()
    }

    pub fn integers(&self, key: &str) -> Option<Vec<i64>> {
        self.array(key)?.iter().map(integer).collect()
    }

    pub fn floats(&self, key: &str) -> Option<Vec<f32>> {
        self.array(key)?.iter().map(|value| value.to_f32().ok()).collect()
    }

    fn array(&self, key: &str) -> Option<&Vec<Value>> {
        self.0.get(key)?.to_vec().ok()
    }
}

/// An integer of any width; candle's own readers want the exact one.
fn integer(value: &Value) -> Option<i64> {
    match *value {
        Value::U8(value) => Some(value.into()),
        Value::I8(value) => Some(value.into()),
        Value::U16(value) => Some(value.into()),
        Value::I16(value) => Some(value.into()),
        Value::U32(value) => Some(value.into()),
        Value::I32(value) => Some(value.into()),
        Value::U64(value) => value.try_into().ok(),
        Value::I64(value) => Some(value),
        _ => None,
    }
}

/// The tensors and the metadata of a mapped file.
pub fn read(path: &Path, file: &WeightFile) -> Result<(BTreeMap<String, Stored>, Metadata)> {
    let invalid = |reason: String| TensorError::Gguf { path: path.into(), reason };
    let header = gguf_header::read(file.bytes()).map_err(invalid)?;
    let mut tensors = BTreeMap::new();
    for TensorInfo { name, shape, dtype, offset } in header.tensors {
        let range = byte_range(&shape, dtype, offset)
            .ok_or_else(|| invalid(format!("tensor `{name}` has an impossible size or offset")))?;
        if range.end > file.bytes().len() {
            let (expected, actual) = (range.end as u64, file.bytes().len() as u64);
            return Err(TensorError::Truncated { path: path.into(), expected, actual }.into());
        }
        tensors.insert(name, Stored { file: 0, dtype: stored_type(dtype), shape, range });
    }
    Ok((tensors, Metadata(header.metadata)))
}

/// The bytes of a tensor; `None` if the size overflows, rows are not whole blocks, or blocks are not aligned.
fn byte_range(shape: &[usize], dtype: GgmlDType, offset: u64) -> Option<std::ops::Range<usize>> {
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let row = shape.last().copied().unwrap_or(1);
    let start = usize::try_from(offset).ok()?;
    let size = (elements / dtype.block_size()).checked_mul(dtype.type_size())?;
    let aligned = row % dtype.block_size() == 0 && start % align_of::<f32>() == 0;
    aligned.then_some(start..start.checked_add(size)?)
}

fn stored_type(dtype: GgmlDType) -> StoredType {
    match dtype {
        GgmlDType::F32 => StoredType::Plain(Dtype::F32),
        GgmlDType::F16 => StoredType::Plain(Dtype::F16),
        GgmlDType::BF16 => StoredType::Plain(Dtype::BF16),
        blocks => StoredType::Ggml(blocks),
    }
}
