//! Narrower numbers: every floating tensor in one type.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};
use rayon::prelude::*;

use crate::adapter::{Adapter, AdapterTensor, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::tensors::Dtype;

/// A type of floating numbers that adapters are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum FloatType {
    /// 8 bits of precision, the range of f32
    Bf16,
    /// 11 bits of precision, up to 65504
    F16,
    F32,
}

impl FloatType {
    fn dtype(self) -> Dtype {
        match self {
            FloatType::Bf16 => Dtype::BF16,
            FloatType::F16 => Dtype::F16,
            FloatType::F32 => Dtype::F32,
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FloatType::Bf16 => "bf16",
            FloatType::F16 => "f16",
            FloatType::F32 => "f32",
        })
    }
}

/// Writes the adapter with its floating tensors in `dtype`; those that are so already, and all others, as they are.
pub fn write(adapter: &Adapter, dtype: FloatType, staging: &Staging) -> Result<()> {
    staging.copy(&adapter.path.join(config::FILE_NAME), config::FILE_NAME)?;
    write::copy_sidecars(&adapter.path, staging)?;
    let tensors = write::in_order(adapter);
    let tensors = tensors.iter().map(|tensor| cast(adapter, tensor, dtype.dtype())).collect::<Result<Vec<_>>>()?;
    write::write_tensors(staging, &tensors)
}

fn cast<'a>(adapter: &'a Adapter, tensor: &AdapterTensor<'a>, wanted: Dtype) -> Result<NewTensor<'a>> {
    let (name, shape, dtype) = (tensor.name, tensor.entry.shape.clone(), write::dtype(tensor.entry));
    let is_cast = matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) && dtype != wanted;
    if !is_cast {
        return Ok(NewTensor { name: name.into(), dtype, shape, bytes: Cow::Borrowed(adapter.weights.bytes(name)?) });
    }
    let bytes = encode_tensor(adapter, name, &adapter.weights.load_finite(name)?, wanted)?;
    Ok(NewTensor { name: name.into(), dtype: wanted, shape, bytes: Cow::Owned(bytes) })
}

/// As [`encode`], with the name of the tensor in the error.
pub fn encode_tensor(adapter: &Adapter, name: &str, values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    let overflow = || AdapterError::Overflow {
        path: adapter.path.clone(),
        tensor: name.into(),
        dtype: format!("{dtype:?}").to_lowercase(),
    };
    Ok(encode(values, dtype).ok_or_else(overflow)?)
}

/// The bytes of values rounded to the nearest, to even in the middle; `None` if one is not finite then, or the type is
/// not one of these.
fn encode(values: &[f32], dtype: Dtype) -> Option<Vec<u8>> {
    fn narrow<const SIZE: usize>(
        values: &[f32],
        convert: impl Fn(f32) -> Option<[u8; SIZE]> + Sync,
    ) -> Option<Vec<u8>> {
        let numbers: Option<Vec<[u8; SIZE]>> = values.par_iter().map(|&value| convert(value)).collect();
        numbers.map(Vec::<[u8; SIZE]>::into_flattened)
    }
    match dtype {
        Dtype::F64 => narrow(values, |value| value.is_finite().then(|| f64::from(value).to_le_bytes())),
        Dtype::F32 => narrow(values, |value| value.is_finite().then(|| value.to_le_bytes())),
        Dtype::F16 => {
            narrow(values, |value| Some(f16::from_f32(value)).filter(|half| half.is_finite()).map(f16::to_le_bytes))
        }
        Dtype::BF16 => {
            narrow(values, |value| Some(bf16::from_f32(value)).filter(|half| half.is_finite()).map(bf16::to_le_bytes))
        }
        _ => None,
    }
}
