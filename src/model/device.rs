//! The devices that tensors can be on, by the names that `--device` takes.
//!
//! Cargo features decide which of them a build can open, so an unknown name, a build without the device, and a device that
//! does not open are three different errors.

use std::str::FromStr;

use candle_core::Device;

use crate::error::ComputeError;

/// What `--device` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// An Apple GPU, by its number.
    Metal(usize),
}

impl FromStr for DeviceName {
    type Err = ComputeError;

    /// Reads `cpu`, `cuda`, `cuda:1`, `metal`; without a number it means the first.
    fn from_str(name: &str) -> Result<Self, ComputeError> {
        let unknown = || ComputeError::UnknownDevice { name: name.into() };
        let (kind, number) = match name.split_once(':') {
            // Only digits: `parse` takes `+1` too.
            Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (kind, Some(number)),
            Some(_) => return Err(unknown()),
            None => (name, None),
        };
        let number = number.map(str::parse).transpose().map_err(|_| unknown())?;
        match (kind, number) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", number) => Ok(Self::Cuda(number.unwrap_or(0))),
            ("metal", number) => Ok(Self::Metal(number.unwrap_or(0))),
            _ => Err(unknown()),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl DeviceName {
    pub fn open(self) -> Result<Device, ComputeError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(self.not_built("cuda")),
            Self::Cuda(number) => Device::new_cuda(number).map_err(|error| self.unavailable(&error)),
            Self::Metal(number) => self.open_metal(number),
        }
    }

    /// candle does not check the number of an Apple GPU, so it is checked first.
    #[cfg(feature = "metal")]
    fn open_metal(self, number: usize) -> Result<Device, ComputeError> {
        let count = candle_metal_kernels::metal::Device::all().len();
        if number >= count {
            return Err(self.unavailable(&format!("{count} Metal devices were found")));
        }
        Device::new_metal(number).map_err(|error| self.unavailable(&error))
    }

    #[cfg(not(feature = "metal"))]
    fn open_metal(self, _number: usize) -> Result<Device, ComputeError> {
        Err(self.not_built("metal"))
    }

    fn not_built(self, feature: &'static str) -> ComputeError {
        ComputeError::DeviceNotBuilt { device: self.to_string(), feature }
    }

    fn unavailable(self, reason: &dyn std::fmt::Display) -> ComputeError {
        let reason = reason.to_string().lines().next().unwrap_or_default().into();
        ComputeError::DeviceUnavailable { device: self.to_string(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn names_are_read_as_written() {
        let read = |name: &str| name.parse::<DeviceName>().ok();
        assert_eq!(read("cpu"), Some(DeviceName::Cpu));
        assert_eq!(read("cuda"), Some(DeviceName::Cuda(0)));
        assert_eq!(read("cuda:3"), Some(DeviceName::Cuda(3)));
        assert_eq!(read("metal"), Some(DeviceName::Metal(0)));
        for wrong in ["", "CUDA", "cpu:0", "cuda:", "cuda:x", "cuda:+1", "cuda:-1", "cuda:1:2", "gpu", ":1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("cuda:{}0", usize::MAX)), None);
    }

    #[test]
    fn a_device_that_does_not_open_may_open_later() {
        let error = Error::from(DeviceName::Cuda(7).unavailable(&"no such GPU\nand its backtrace"));
        assert_eq!(error.to_string(), "cannot open the device `cuda:7`: no such GPU");
        assert_eq!(error.kind(), Kind::Io);
        assert!(error.hint().is_some_and(|hint| hint.contains("--device cpu")));
    }
}
