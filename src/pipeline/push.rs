//! What is uploaded of a folder: all of it, if it holds an adapter and nothing else.

use std::fs;
use std::path::Path;

use crate::adapter::{Adapter, config};
use crate::error::{AdapterError, Error, FileError, PushError, Result};
use crate::export::Format;
use crate::files::REPORT_NAME;
use crate::rewrite::sidecars::{Sidecar, of};

/// What an uploading tool leaves out, or the hub itself writes.
const NOT_UPLOADED: [&str; 2] = [".git", ".cache"];
const OF_THE_HUB: &str = ".gitattributes";
/// Beginnings and endings of the files of weights that adapters have.
const WEIGHTS: [(&str, &str); 7] = [
    ("adapter_model", ".safetensors"),
    ("adapter_model", ".safetensors.index.json"),
    ("adapter_model", ".bin"),
    ("model", ".safetensors"),
    ("model", ".safetensors.index.json"),
    ("adapters", ".safetensors"),
    ("adapter", ".gguf"),
];

/// The files of an adapter, by name, with their sizes in bytes.
#[derive(Debug)]
pub struct Upload {
    files: Vec<(String, u64)>,
}

impl Upload {
    /// Looks at a folder.
    ///
    /// # Errors
    /// It holds no adapter, or more than one: the state of a training, links, or anything else that nobody needs who uses the adapter.
    pub fn of(folder: &Path) -> Result<Self> {
        check_adapter(folder)?;
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
            let entry = entry.map_err(FileError::read(folder))?;
            let found = entry.path().symlink_metadata().map_err(FileError::read(&entry.path()))?;
            match entry.file_name().into_string() {
                Ok(name) if found.is_dir() && NOT_UPLOADED.contains(&name.as_str()) => {}
                Ok(name) if found.is_file() && is_part(&name) => files.push((name, found.len())),
                Ok(name) if found.is_dir() => others.push(name + "/"),
                Ok(name) if found.is_symlink() => others.push(name + " (a link)"),
                Ok(name) => others.push(name),
                Err(name) => others.push(name.to_string_lossy().into_owned()),
            }
        }
        if !others.is_empty() {
            others.sort();
            return Err(PushError::MoreThanAnAdapter { path: folder.into(), names: others }.into());
        }
        files.sort();
        Ok(Self { files })
    }

    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }
}

fn check_adapter(folder: &Path) -> Result<()> {
    let format = Format::of_path(folder);
    if folder.is_dir() && format != Format::Peft {
        let (weights, report) = (format.file_name(), REPORT_NAME);
        let is_ours = folder.join(report).is_file();
        return is_ours.then_some(()).ok_or(PushError::NotOurs { path: folder.into(), weights, report }.into());
    }
    match Adapter::open(folder, None) {
        // Which of its layers are the decoder's makes no difference here.
        Ok(_) | Err(Error::Adapter(AdapterError::SeveralStacks { .. } | AdapterError::NoLayers { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a file belongs to an adapter.
fn is_part(name: &str) -> bool {
    let is_weights = |(beginning, ending): &(&str, &str)| name.starts_with(beginning) && name.ends_with(ending);
    [config::FILE_NAME, REPORT_NAME, OF_THE_HUB].contains(&name)
        || WEIGHTS.iter().any(is_weights)
        || of(name, false) == Sidecar::Copied
}
