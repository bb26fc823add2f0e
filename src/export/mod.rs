//! The formats in which an adapter can be written, for runtimes that do not read PEFT's folder.
//!
//! To add one, write its file, with a `FormatEntry`, and add it to [`Format`].

mod base;
mod gguf;
mod gguf_names;
mod mlx;
mod pairs;
mod peft;

use std::fmt;
use std::path::Path;

use crate::adapter::Adapter;
use crate::error::{ChoiceError, FileError, Result};
use crate::files::Staging;
use crate::hub::BasePath;
use crate::rewrite::steps::PlannedChanges;
use base::BaseShape;

/// A format in which an adapter is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
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

/// What there is to know of a format.
struct FormatEntry {
    name: &'static str,
    help: &'static str,
    /// With its article, for messages.
    description: &'static str,
    /// The file that holds the tensors.
    file_name: &'static str,
    /// Reads what the format takes from the base model: its configuration, no weights.
    exporter: fn(FindBase, PlannedChanges) -> Result<Box<dyn Exporter>>,
}

/// Finds the base model, if a format needs it.
type FindBase<'a> = &'a dyn Fn() -> Result<BasePath>;

/// Writes adapters in one format, for one base model.
pub trait Exporter: fmt::Debug + Send + Sync {
    fn format(&self) -> Format;

    /// Refuses an adapter that the format cannot hold after the planned changes, as far as can be told before the cut.
    fn check(&self, adapter: &Adapter, planned: PlannedChanges) -> Result<()>;

    /// Writes the adapter into a folder.
    fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()>;
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Peft, Self::Gguf, Self::Mlx];

    const fn entry(self) -> &'static FormatEntry {
        match self {
            Self::Peft => &peft::ENTRY,
            Self::Gguf => &gguf::ENTRY,
            Self::Mlx => &mlx::ENTRY,
        }
    }

    /// As it is named on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Its line in help texts.
    pub fn help(self) -> &'static str {
        self.entry().help
    }

    /// For messages: `a PEFT folder`.
    pub fn description(self) -> &'static str {
        self.entry().description
    }

    /// The file that holds the tensors.
    pub fn file_name(self) -> &'static str {
        self.entry().file_name
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of an existing file or folder, by the names that lora-slim and others give to files.
    pub fn of_path(path: &Path) -> Self {
        let has = |format: Self| path.join(format.file_name()).is_file();
        if path.extension().is_some_and(|extension| extension == "gguf") || has(Self::Gguf) {
            Self::Gguf
        } else {
            Self::ALL.into_iter().find(|&format| has(format)).unwrap_or_default()
        }
    }

    /// What writes adapters in this format after the planned changes. `base` is asked for the base model only if the format needs it.
    pub fn exporter(self, base: impl Fn() -> Result<BasePath>, planned: PlannedChanges) -> Result<Box<dyn Exporter>> {
        if planned.rounds_to_blocks && self != Self::Gguf {
            let reason = "`q8_0` is a type of GGUF files: add `--format gguf`".into();
            return Err(ChoiceError::Setting { name: "--dtype".into(), reason }.into());
        }
        (self.entry().exporter)(&base, planned)
    }

    /// Refuses the name of a file for the folder to write.
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
        f.write_str(self.name())
    }
}
