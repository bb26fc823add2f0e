//! Errors of weight files.

use std::path::PathBuf;

use super::Kind;
use crate::format::bytes;

/// Weight files: safetensors, GGUF and pickles.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    #[error("`{}` is not a valid safetensors file: {source}", path.display())]
    Safetensors { path: PathBuf, source: safetensors::SafeTensorError },
    #[error("`{}` is cut off: it has {}, and its header alone {}", path.display(), bytes(*length), bytes(*header))]
    CutOff { path: PathBuf, length: u64, header: u64 },
    #[error("`{}` is not a safetensors file: it begins with {beginning}", path.display())]
    NotSafetensors { path: PathBuf, beginning: String },
    #[error("`{}` is not a valid GGUF file: {reason}", path.display())]
    Gguf { path: PathBuf, reason: String },
    #[error("the tensors of `{}` cannot be read without running code: {reason}", path.display())]
    Pickle { path: PathBuf, reason: String },
    #[error("`{}` holds {actual} bytes of tensors where its header promises {expected}", path.display())]
    Truncated { path: PathBuf, expected: u64, actual: u64 },
    #[error("`{}` lists the shard `{shard}`, which is not a plain file name", path.display())]
    ShardName { path: PathBuf, shard: String },
    #[error("tensor `{name}` is in more than one shard of `{}`", path.display())]
    DuplicateTensor { path: PathBuf, name: String },
    #[error("`{}` has no tensor `{name}`", path.display())]
    Missing { path: PathBuf, name: String },
    #[error("tensor `{name}` in `{}` has shape {actual:?} instead of {expected:?}", path.display())]
    Shape { path: PathBuf, name: String, expected: Vec<usize>, actual: Vec<usize> },
    #[error("tensor `{name}` in `{}` has the unsupported type {dtype}", path.display())]
    Dtype { path: PathBuf, name: String, dtype: String },
    #[error("tensor `{name}` in `{}` {problem}", path.display())]
    Quantised { path: PathBuf, name: String, problem: String },
    #[error("tensor `{name}` in `{}` holds NaN or infinite values", path.display())]
    NotFinite { path: PathBuf, name: String },
}

impl TensorError {
    pub(super) fn kind(&self) -> Kind {
        Kind::BadInput
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Truncated { .. } | Self::CutOff { .. } => Some("the file is incomplete; download or copy it again".into()),
            Self::NotSafetensors { .. } => Some("download or copy it again".into()),
            Self::Pickle { .. } => Some(
                "load it where you trust it and save it with PEFT's `save_pretrained`, which writes safetensors".into(),
            ),
            Self::Quantised { .. } => Some(
                "`lora-slim` reads what docs/families.md lists; point `--base` at the model in full precision, or at a GGUF file of it"
                    .into(),
            ),
            _ => None,
        }
    }
}
