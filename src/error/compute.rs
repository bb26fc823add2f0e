//! Errors of computing: devices, arithmetic, memory, and the passes through the model.

use std::path::{Path, PathBuf};

use super::Kind;

/// Computing with tensors, in forward passes and elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("the sweep needs at least {needed} bytes of memory, and its budget is {budget}")]
    Memory { needed: u64, budget: u64 },
    #[error("the loss of sample {sample}{} at boundary {boundary} of the base model `{}` is not a finite number", of_file(samples), base.display())]
    NotFinite { base: PathBuf, samples: PathBuf, boundary: usize, sample: usize },
    #[error("the loss of sample {sample}{} after {layers} layers of the base model `{}` is not a finite number", of_file(samples), base.display())]
    NotFiniteBehind { base: PathBuf, samples: PathBuf, layers: usize, sample: usize },
    #[error("`{name}` is not the name of a device")]
    UnknownDevice { name: String },
    #[error("this lora-slim was built without support for the device `{device}`")]
    DeviceNotBuilt { device: String, feature: &'static str },
    #[error("cannot open the device `{device}`: {reason}")]
    DeviceUnavailable { device: String, reason: String },
    #[error("the device `{device}` does not compute in {precision}")]
    PrecisionOnDevice { device: String, precision: &'static str },
    #[error("this processor has no bf16 unit that lora-slim can use")]
    NoBf16,
    #[error("the adapters of one sweep have different base models, or there are none")]
    NoCommonBase,
    #[error("interrupted")]
    Interrupted,
    #[error("a tensor operation failed: {}", .0.to_string().lines().next().unwrap_or_default())]
    TensorOperation(#[from] candle_core::Error),
}

/// Where a sample is from, if that is known.
fn of_file(samples: &Path) -> String {
    if samples.as_os_str().is_empty() { String::new() } else { format!(" of `{}`", samples.display()) }
}

impl ComputeError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Interrupted => Kind::Interrupted,
            Self::TensorOperation(_) | Self::NoCommonBase => Kind::Internal,
            Self::DeviceUnavailable { .. } => Kind::Io,
            Self::Memory { .. }
            | Self::UnknownDevice { .. }
            | Self::DeviceNotBuilt { .. }
            | Self::PrecisionOnDevice { .. }
            | Self::NoBf16 => Kind::Usage,
            Self::NotFinite { .. } | Self::NotFiniteBehind { .. } => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Memory { needed, .. } => format!("pass `--memory {needed}`, or shorter samples"),
            Self::NotFinite { .. } | Self::NotFiniteBehind { .. } => {
                "check the base model's weights and the sample".into()
            }
            Self::UnknownDevice { .. } => {
                "use `cpu`, `cuda` or `metal`, or name one of several by its number: `cuda:N`, `metal:N`".into()
            }
            Self::DeviceNotBuilt { feature, .. } => {
                format!("use `--device cpu`, or build lora-slim with `--features {feature}` (docs/devices.md)")
            }
            Self::DeviceUnavailable { .. } => {
                "check the device, its driver and its number, or use `--device cpu`".into()
            }
            Self::PrecisionOnDevice { .. } | Self::NoBf16 => "use `--precision f32`, or leave out `--precision`".into(),
            Self::TensorOperation(_) => "this is a bug in lora-slim; please report it".into(),
            Self::NoCommonBase | Self::Interrupted => return None,
        };
        Some(hint)
    }
}
