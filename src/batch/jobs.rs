//! The jobs of a batch: one for each adapter below a folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use walkdir::{DirEntry, WalkDir};

use super::results;
use crate::adapter::config;
use crate::error::{BatchError, FileError, Result};

/// An adapter to slim or to cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The path of its output below that of the batch, with `/` between folders.
    pub name: String,
    /// A folder, or a name in the Hugging Face cache.
    pub adapter: String,
    /// Its own flags, which win over those of the whole batch.
    pub options: Map<String, Value>,
}

/// The adapters below a folder.
#[derive(Debug, Default)]
pub struct FolderJobs {
    /// Sorted by name.
    pub jobs: Vec<Job>,
    /// Adapters inside of others, which are not jobs: training leaves checkpoints in the folder of its result.
    pub nested: Vec<PathBuf>,
}

/// Finds the adapter folders below `folder`. Follows links, and skips hidden folders.
pub fn below(folder: &Path) -> Result<FolderJobs> {
    let mut found = FolderJobs::default();
    let mut outer: Option<PathBuf> = None;
    let is_visible = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_visible) {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads nowhere is no adapter, and one that leads back is found at its target.
            Err(error) if error.loop_ancestor().is_some() || is_dangling(&error) => continue,
            Err(error) => return Err(unreadable(folder, error).into()),
        };
        if !entry.file_type().is_dir() || !entry.path().join(config::FILE_NAME).is_file() {
            continue;
        }
        if outer.as_ref().is_some_and(|outer| entry.path().starts_with(outer)) {
            found.nested.push(entry.into_path());
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
    // The folder itself may be the adapter, and may be named `.`.
    let own = path.canonicalize().map_err(FileError::read(path))?;
    let relative =
        if relative.as_os_str().is_empty() { Path::new(own.file_name().unwrap_or_default()) } else { relative };
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    match (parts, path.to_str()) {
        (Some(parts), Some(adapter)) if !parts.is_empty() => {
            Ok(Job { name: parts.join("/"), adapter: adapter.into(), options: Map::new() })
        }
        _ => Err(BatchError::Name { path: path.into() }.into()),
    }
}

/// Checks that no job of a batch writes into the place of another job or of the batch's own files.
pub fn check_names(jobs: &[Job]) -> Result<()> {
    let names: HashSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    for job in jobs {
        let name = job.name.as_str();
        let is_ours = ["summary.csv", "index.html"].contains(&name) || results::is_name(name);
        // A page is written beside its adapter's folder.
        let is_page = name.strip_suffix(".html").is_some_and(|other| names.contains(other));
        let outer = Path::new(name).ancestors().skip(1).filter_map(Path::to_str).find(|outer| names.contains(outer));
        let taken_by = match outer {
            Some(outer) => format!("lies in the output of `{outer}`"),
            None if is_ours => "is the name of a file of the batch".into(),
            None if is_page => "is the name of another job's page".into(),
            None => continue,
        };
        return Err(BatchError::NameTaken { name: name.into(), taken_by }.into());
    }
    Ok(())
}

fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) && error.depth() > 0
}

fn unreadable(folder: &Path, error: walkdir::Error) -> FileError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
    FileError::Read { path, source }
}
