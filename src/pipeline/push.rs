//! What is uploaded of a folder: the files of an adapter, by their exact names, if it holds nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::adapter::{self, Adapter, config};
use crate::error::{AdapterError, Error, FileError, PushError, Result};
use crate::export::Format;
use crate::files::{REPORT_NAME, Scratch};
use crate::rewrite::sidecars::{Sidecar, of};

/// What Git and the hub's programs keep beside the files of a repository. It is not uploaded.
const OF_GIT: &str = ".git";
const CACHE: &str = ".cache";
const CACHE_OF_THE_HUB: &str = "huggingface";
/// What the hub itself writes.
const OF_THE_HUB: &str = ".gitattributes";

/// The files of an adapter, by name, with their sizes in bytes.
#[derive(Debug)]
pub struct Upload {
    /// Without links.
    folder: PathBuf,
    files: Vec<(String, u64)>,
}

impl Upload {
    /// Looks at everything in a folder.
    ///
    /// # Errors
    /// It holds no adapter, or more than one: the state of a training, other weights, hidden files, links, or anything else that nobody
    /// needs who uses the adapter.
    pub fn of(folder: &Path) -> Result<Self> {
        let parts = parts(folder)?;
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for (name, path) in entries(folder)? {
            let found = path.symlink_metadata().map_err(FileError::read(&path))?;
            let is_part = |name: &str| parts.iter().any(|part| part == name) || of(name, false) == Sidecar::Copied;
            match name {
                Ok(name) if found.is_dir() && name == OF_GIT => {}
                Ok(name) if found.is_dir() && name == CACHE => others.extend(others_in_cache(&path)?),
                Ok(name) if found.is_file() && is_part(&name) => files.push((name, found.len())),
                Ok(name) if found.is_dir() => others.push(name + "/"),
                Ok(name) if found.is_symlink() => others.push(name + " (a link)"),
                Ok(name) | Err(name) => others.push(name),
            }
        }
        if !others.is_empty() {
            others.sort();
            return Err(PushError::MoreThanAnAdapter { path: folder.into(), names: others }.into());
        }
        files.sort();
        Ok(Self { folder: folder.canonicalize().map_err(FileError::read(folder))?, files })
    }

    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }

    /// A temporary folder that holds these files and no others, whatever comes into the adapter's folder meanwhile. Versions of `hf`
    /// before 1.0 and those after it read several `--include` differently, so that files cannot be named to both.
    pub fn alone(&self) -> Result<Scratch> {
        let scratch = Scratch::new()?;
        self.files.iter().try_for_each(|(name, _)| scratch.link(name, &self.folder.join(name)))?;
        Ok(scratch)
    }
}

/// The names in a folder, or what can be shown of them, with their paths.
fn entries(folder: &Path) -> Result<Vec<(std::result::Result<String, String>, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
        let entry = entry.map_err(FileError::read(folder))?;
        let name = entry.file_name().into_string().map_err(|name| name.to_string_lossy().into_owned());
        entries.push((name, entry.path()));
    }
    Ok(entries)
}

/// What lies in the folder `.cache` and is not of the hub's programs.
fn others_in_cache(cache: &Path) -> Result<Vec<String>> {
    let is_other = |(name, path): &(_, PathBuf)| *name != Ok(CACHE_OF_THE_HUB.to_string()) || path.is_symlink();
    let others = entries(cache)?.into_iter().filter(is_other);
    Ok(others.map(|(name, _)| format!("{CACHE}/{}", name.unwrap_or_else(|name| name))).collect())
}

/// The names of the files that an adapter of this folder's format has, besides those that are copied with it.
fn parts(folder: &Path) -> Result<Vec<String>> {
    let format = Format::of_path(folder);
    let mut parts = vec![REPORT_NAME.into(), OF_THE_HUB.into()];
    if folder.is_dir() && format != Format::Peft {
        let (weights, report) = (format.file_name(), REPORT_NAME);
        if !folder.join(report).is_file() {
            return Err(PushError::NotOurs { path: folder.into(), weights, report }.into());
        }
        parts.push(weights.into());
    } else {
        check_adapter(folder)?;
        parts.extend(adapter::weight_files(folder)?);
    }
    if format != Format::Gguf {
        parts.push(config::FILE_NAME.into());
    }
    Ok(parts)
}

fn check_adapter(folder: &Path) -> Result<()> {
    match Adapter::open(folder, None) {
        // Which of its layers are the decoder's makes no difference here.
        Ok(_) | Err(Error::Adapter(AdapterError::SeveralStacks { .. } | AdapterError::NoLayers { .. })) => Ok(()),
        Err(Error::Adapter(AdapterError::AdaptersBelow { path, below })) => {
            Err(PushError::AdaptersBelow { path, below }.into())
        }
        Err(error) => Err(error),
    }
}
