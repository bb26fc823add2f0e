//! PyTorch's older adapter files, `adapter_model.bin`: a ZIP archive with a pickle that names the tensors.
//!
//! Python runs whatever a pickle says. candle's reader does not: it knows a few harmless instructions and refuses the
//! rest. What comes out is kept as safetensors in memory, so that nothing else here knows of pickles.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use candle_core::pickle::PthTensors;

use crate::error::{FileError, Result, TensorError};

/// The tensors of a file as the bytes of a safetensors file.
pub fn to_safetensors(path: &Path) -> Result<Vec<u8>> {
    let invalid = |reason: String| TensorError::Pickle { path: path.into(), reason };
    let length = path.metadata().map_err(FileError::read(path))?.len();
    let file = PthTensors::new(path, None).map_err(|error| invalid(error.to_string()))?;
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, info) in file.tensor_infos() {
        let elements = info.layout.dims().iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
        let bytes = elements.and_then(|elements| elements.checked_mul(info.dtype.size_in_bytes() as u64));
        if bytes.is_none_or(|bytes| bytes > length) {
            return Err(invalid(format!("tensor `{name}` is larger than the file")).into());
        }
        if info.layout.start_offset() != 0 {
            return Err(invalid(format!("tensor `{name}` is a part of a larger one")).into());
        }
        let tensor = file.get(name).map_err(|error| invalid(error.to_string()))?;
        tensors.insert(name.clone(), tensor.ok_or_else(|| invalid(format!("tensor `{name}` is not in it")))?);
    }
    safetensors::serialize(tensors, None).map_err(|error| invalid(error.to_string()).into())
}
