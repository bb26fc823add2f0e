//! The adapters of a batch: those below a folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::adapter::config;
use crate::error::{BatchError, FileError, Result};

/// An adapter to slim or to cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where its output lies below that of the batch, with `/` between folders.
    pub name: String,
    /// A folder, or a name in the Hugging Face cache.
    pub adapter: String,
    /// Flags of its own, which come after those of the whole batch.
    pub words: Vec<OsString>,
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// Sorted by name.
    pub jobs: Vec<Job>,
    /// Adapters inside of others, as training leaves checkpoints in the folder of its result; they are no jobs.
    pub inside: Vec<PathBuf>,
}

/// Finds the adapter folders below `folder`, through links, too, but not in hidden folders.
pub fn below(folder: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut outer: Option<PathBuf> = None;
    let is_wanted = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_wanted) {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads to nothing, or back: what it stands for is no adapter, or is found where it lies.
            Err(error) if error.loop_ancestor().is_some() || is_dangling(&error) => continue,
            Err(error) => return Err(unreadable(folder, error).into()),
        };
        if !entry.file_type().is_dir() || !entry.path().join(config::FILE_NAME).is_file() {
            continue;
        }
        if outer.as_ref().is_some_and(|outer| entry.path().starts_with(outer)) {
            found.inside.push(entry.into_path());
            continue;
        }
        found.jobs.push(job(folder, entry.path())?);
        outer = Some(entry.into_path());
    }
    if found.jobs.is_empty() {
        return Err(BatchError::NoAdapters { path: folder.into() }.into());
    }
    found.jobs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn job(folder: &Path, path: &Path) -> Result<Job> {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    // A batch of one: the folder itself is the adapter.
    let relative =
        if relative.as_os_str().is_empty() { Path::new(path.file_name().unwrap_or_default()) } else { relative };
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    match (parts, path.to_str()) {
        (Some(parts), Some(adapter)) if !parts.is_empty() => {
            Ok(Job { name: parts.join("/"), adapter: adapter.into(), words: Vec::new() })
        }
        _ => Err(BatchError::Name { path: path.into() }.into()),
    }
}

fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) && error.depth() > 0
}

fn unreadable(folder: &Path, error: walkdir::Error) -> FileError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
    FileError::Read { path, source }
}
