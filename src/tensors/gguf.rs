//! What a GGUF file holds: where its tensors lie, and its metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;

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

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
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

    pub fn booleans(&self, key: &str) -> Option<Vec<bool>> {
        self.array(key)?.iter().map(|value| value.to_bool().ok()).collect()
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

/// The parts of a model that llama.cpp's splitter has divided, `NAME-00001-of-00003.gguf` and so on, in order; the file
/// itself if it is none of these.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let Some((name, count)) = split_name(path) else { return vec![path.into()] };
    (1..=count).map(|part| path.with_file_name(format!("{name}-{part:05}-of-{count:05}.gguf"))).collect()
}

/// The name and the number of parts of a split model.
fn split_name(path: &Path) -> Option<(&str, usize)> {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, count) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (name, part) = before.rsplit_once('-')?;
    let is_part = digits(part) && digits(count);
    Some((name, count.parse().ok()?)).filter(|&(_, count)| is_part && count > 0)
}

/// The tensors and the metadata of a mapped file, which becomes file number `number` of its store.
pub fn read(path: &Path, file: &WeightFile, number: usize) -> Result<(BTreeMap<String, Stored>, Metadata)> {
    let invalid = |reason: String| TensorError::Gguf { path: path.into(), reason };
    let header = gguf_header::read(file.bytes()).map_err(invalid)?;
    let mut tensors = BTreeMap::new();
    for TensorInfo { name, shape, kind, offset } in header.tensors {
        let Some(dtype) = gguf_header::stored_type(kind) else {
            let dtype = gguf_header::name_of_other(kind);
            return Err(TensorError::Dtype { path: path.into(), name, dtype }.into());
        };
        let range = byte_range(&shape, dtype, offset)
            .ok_or_else(|| invalid(format!("tensor `{name}` has an impossible size or offset")))?;
        if range.end > file.bytes().len() {
            let (expected, actual) = (range.end as u64, file.bytes().len() as u64);
            return Err(TensorError::Truncated { path: path.into(), expected, actual }.into());
        }
        tensors.insert(name, Stored { file: number, dtype, shape, range });
    }
    Ok((tensors, Metadata(header.metadata)))
}

/// The bytes of a tensor; `None` if the size overflows, rows are not whole blocks, or blocks are not aligned.
fn byte_range(shape: &[usize], dtype: StoredType, offset: u64) -> Option<std::ops::Range<usize>> {
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let row = shape.last().copied().unwrap_or(1);
    let start = usize::try_from(offset).ok()?;
    let (values, bytes) = dtype.block();
    let size = (elements / values).checked_mul(bytes)?;
    let aligned = row.is_multiple_of(values) && start.is_multiple_of(align_of::<f32>());
    aligned.then_some(start..start.checked_add(size)?)
}
