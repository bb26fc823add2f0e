//! Other forms of an adapter than PEFT's folder, for runtimes that read no such folder.

mod base;
mod gguf;
mod mlx;
mod names;
mod pairs;

use std::fmt;
use std::path::Path;

use crate::adapter::Adapter;
use crate::error::{FileError, Result};
use crate::files::Staging;
use crate::hub::BasePath;
use base::BaseShape;
use names::Families;

/// The form in which an adapter is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A PEFT folder: adapter_config.json and adapter_model.safetensors
    #[default]
    Peft,
    /// A LoRA GGUF file, for llama.cpp and Ollama
    Gguf,
    /// An MLX-LM folder: adapter_config.json and adapters.safetensors
    Mlx,
}

impl Format {
    /// The file that holds the tensors.
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Peft => crate::adapter::WEIGHTS_NAME,
            Format::Gguf => "adapter.gguf",
            Format::Mlx => "adapters.safetensors",
        }
    }

    /// Refuses the name of a file for the folder that is written.
    pub fn check_folder_name(self, output: &Path) -> Result<()> {
        let is_file =
            output.extension().is_some_and(|ending| ["gguf", "safetensors"].iter().any(|file| ending == *file));
        match is_file {
            true => Err(FileError::OutputIsFolder { path: output.into(), file: self.file_name() }.into()),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Peft => "peft",
            Format::Gguf => "gguf",
            Format::Mlx => "mlx",
        })
    }
}

/// A form with all that it takes from the base model.
#[derive(Debug)]
pub enum Form {
    Peft,
    Gguf(BaseShape, Families),
    Mlx(BaseShape),
}

impl Form {
    /// Reads what the form wants of the base model: its configuration, no weights.
    pub fn new(format: Format, base: impl FnOnce() -> Result<BasePath>) -> Result<Self> {
        Ok(match format {
            Format::Peft => Form::Peft,
            Format::Mlx => Form::Mlx(BaseShape::read(&base()?)?),
            Format::Gguf => {
                let base = BaseShape::read(&base()?)?;
                let families = Families::of(&base)?;
                Form::Gguf(base, families)
            }
        })
    }

    pub fn format(&self) -> Format {
        match self {
            Form::Peft => Format::Peft,
            Form::Gguf(..) => Format::Gguf,
            Form::Mlx(_) => Format::Mlx,
        }
    }

    /// Whether an adapter has the form that is wanted, as far as can be told before the cut; `--portable` takes AdaLoRA's values
    /// and all differences between modules away before.
    pub fn check(&self, adapter: &Adapter, will_be_portable: bool) -> Result<()> {
        match self {
            Form::Peft => Ok(()),
            Form::Gguf(base, families) => {
                base.check_layers(adapter)?;
                gguf::check(adapter, base, families, will_be_portable)
            }
            Form::Mlx(base) => {
                base.check_layers(adapter)?;
                mlx::check(adapter, base, will_be_portable)
            }
        }
    }

    /// Writes the adapter into a folder, in a form that is not PEFT's own.
    pub fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()> {
        match self {
            Form::Peft => crate::rewrite::Cut::whole(adapter)?.write(staging),
            Form::Gguf(base, families) => gguf::write(adapter, base, families, staging),
            Form::Mlx(base) => mlx::write(adapter, base, staging),
        }
    }
}
