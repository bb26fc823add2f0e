//! Tensors as files hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use safetensors::Dtype;

use crate::error::TensorError;

/// What the elements of a stored tensor are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StoredType {
    /// One number after the other.
    Plain(Dtype),
    /// GGML blocks of quantised values.
    Ggml(GgmlDType),
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredType::Plain(dtype) => write!(f, "{dtype:?}"),
            StoredType::Ggml(dtype) => write!(f, "{dtype:?}"),
        }
    }
}

/// Where a tensor lies, as the header of its file says.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The place of its file in the store.
    pub(super) file: usize,
    pub(super) dtype: StoredType,
    pub(super) shape: Vec<usize>,
    /// Its bytes, counted from the start of the file.
    pub(super) range: Range<usize>,
}

/// The stored tensors of a model or an adapter, by name.
pub struct StoredTensors<'a> {
    pub path: &'a Path,
    pub tensors: &'a BTreeMap<String, Stored>,
}

impl StoredTensors<'_> {
    /// The tensor `name`, which must have this type and shape.
    pub fn expect(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&Stored, TensorError> {
        let (path, name) = (self.path.to_path_buf(), name.to_string());
        let Some(stored) = self.tensors.get(&name) else { return Err(TensorError::Missing { path, name }) };
        if stored.dtype != StoredType::Plain(dtype) {
            return Err(TensorError::Dtype { path, name, dtype: stored.dtype.to_string() });
        }
        if stored.shape != shape {
            let (expected, actual) = (shape.into(), stored.shape.clone());
            return Err(TensorError::Shape { path, name, expected, actual });
        }
        Ok(stored)
    }
}
