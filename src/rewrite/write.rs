//! The files of an adapter folder as this program writes them: tensors behind one header, values in their types, and the files
//! that are copied along.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::adapter::{Adapter, AdapterTensor, WEIGHTS_NAME, config};
use crate::error::{AdapterError, Result, TensorError};
use crate::files::Staging;
use crate::rewrite::sidecars::Sidecars;
use crate::tensors::{Dtype, Entry};

/// A tensor to write.
pub struct NewTensor<'a> {
    pub name: Cow<'a, str>,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> NewTensor<'a> {
    /// A tensor of the adapter as it is.
    pub fn unchanged(adapter: &'a Adapter, tensor: &AdapterTensor<'a>) -> Result<Self> {
        let (dtype, shape) = (dtype(tensor.entry), tensor.entry.shape.clone());
        Ok(Self {
            name: tensor.key.clean_name(tensor.name).to_string().into(),
            dtype,
            shape,
            bytes: adapter.weights.bytes(tensor.name)?.into(),
        })
    }
}

/// The type of an adapter's tensor.
pub fn dtype(entry: &Entry) -> Dtype {
    let Some(dtype) = entry.dtype() else { unreachable!("an adapter's tensors are plain numbers") };
    dtype
}

/// The type for values that are computed from those of a type. Eight bits are too few for them.
pub fn computed_dtype(dtype: Dtype) -> Dtype {
    if matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2) { Dtype::BF16 } else { dtype }
}

/// The tensors of an adapter in the order of its file, or by name where there is no one file.
pub fn in_file_order(adapter: &Adapter) -> Vec<AdapterTensor<'_>> {
    let mut tensors: Vec<_> = adapter.tensors().collect();
    if adapter.weights.one_file().is_some() {
        tensors.sort_by_key(|tensor| tensor.entry.range().start);
    }
    tensors
}

/// Writes `adapter_model.safetensors`.
pub fn write_tensors(staging: &Staging, tensors: &[NewTensor]) -> Result<()> {
    write_tensors_as(WEIGHTS_NAME, staging, tensors)
}

/// Writes a safetensors file.
pub fn write_tensors_as(file_name: &str, staging: &Staging, tensors: &[NewTensor]) -> Result<()> {
    let header = header(
        tensors.iter().map(|tensor| (&*tensor.name, tensor.dtype, &*tensor.shape, tensor.bytes.len())),
        &Notes::new(),
    )?;
    staging.file(file_name, |file| {
        file.write_all(&header)?;
        tensors.iter().try_for_each(|tensor| file.write_all(&tensor.bytes))
    })
}

/// What `__metadata__` of a safetensors file says of it beside `format`.
pub type Notes = BTreeMap<String, String>;

/// The safetensors header for tensors in this order, given as name, type, shape and bytes, padded to eight bytes as the format demands.
/// The same input gives the same bytes.
pub fn header<'a>(
    tensors: impl IntoIterator<Item = (&'a str, Dtype, &'a [usize], usize)>,
    notes: &Notes,
) -> Result<Vec<u8>> {
    let mut end = 0;
    let infos = tensors
        .into_iter()
        .map(|(name, dtype, shape, bytes)| {
            let start = end;
            end += bytes;
            (name.to_string(), TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (start, end) })
        })
        .collect();
    let invalid = |source| TensorError::Safetensors { path: WEIGHTS_NAME.into(), source };
    let tensors = Metadata::new(None, infos).map_err(invalid)?;
    let tensors = serde_json::to_string(&tensors).map_err(|source| invalid(source.into()))?;
    let format = [("format".to_string(), "pt".to_string())];
    let metadata: Notes = notes.clone().into_iter().chain(format).collect();
    let metadata = serde_json::to_string(&metadata).map_err(|source| invalid(source.into()))?;
    let tensors = tensors.trim_start_matches('{');
    let comma = if tensors == "}" { "" } else { "," };
    let mut json = format!("{{\"__metadata__\":{metadata}{comma}{tensors}").into_bytes();
    json.resize(json.len().next_multiple_of(size_of::<u64>()), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), json.as_slice()].concat())
}

/// The bytes of values rounded to the nearest, to even in the middle. The error for values that `dtype` cannot hold names `tensor`.
pub fn encode(adapter: &Adapter, tensor: &str, values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    fn narrow<const SIZE: usize>(
        values: &[f32],
        convert: impl Fn(f32) -> Option<[u8; SIZE]> + Sync,
    ) -> Option<Vec<u8>> {
        let numbers: Option<Vec<[u8; SIZE]>> = values.par_iter().map(|&value| convert(value)).collect();
        numbers.map(Vec::<[u8; SIZE]>::into_flattened)
    }
    let bytes = match dtype {
        Dtype::F64 => narrow(values, |value| value.is_finite().then(|| f64::from(value).to_le_bytes())),
        Dtype::F32 => narrow(values, |value| value.is_finite().then(|| value.to_le_bytes())),
        Dtype::F16 => {
            narrow(values, |value| Some(f16::from_f32(value)).filter(|half| half.is_finite()).map(f16::to_le_bytes))
        }
        Dtype::BF16 => {
            narrow(values, |value| Some(bf16::from_f32(value)).filter(|half| half.is_finite()).map(bf16::to_le_bytes))
        }
        _ => None,
    };
    let (path, dtype) = (adapter.path.clone(), format!("{dtype:?}").to_lowercase());
    Ok(bytes.ok_or(AdapterError::Overflow { path, tensor: tensor.into(), dtype })?)
}

/// The columns of a matrix, given by rows, one after the other.
pub fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).copied()).collect()
}

/// Copies the files beside the adapter that belong to it: tokenizer, chat template, README, licence. Nothing else is copied; the
/// report names what is not.
pub fn copy_sidecars(folder: &Path, staging: &Staging) -> Result<()> {
    Sidecars::find(folder)?.copy(staging)
}

/// Copies all of an adapter but its tensors.
pub fn copy_all_but_tensors(adapter: &Adapter, staging: &Staging) -> Result<()> {
    staging.copy(&adapter.path.join(config::FILE_NAME), config::FILE_NAME)?;
    copy_sidecars(&adapter.path, staging)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
