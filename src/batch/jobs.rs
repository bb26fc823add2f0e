//! The jobs of a batch: one for each adapter below a folder.

use std::collections::HashSet;
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use walkdir::{DirEntry, WalkDir};

use super::results;
use crate::adapter::config;
use crate::error::{BatchError, Error, FileError, Result};
use crate::format::{first_names, plural};
use crate::report::batch::Record;

/// The most names in a remark.
const MOST_NAMES: usize = 3;

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
    /// Checkpoints inside of finished adapters, which are not jobs: training leaves them in the folder of its result.
    pub nested: Vec<PathBuf>,
    /// What is not searched, sorted by name.
    pub left_out: Vec<LeftOut>,
}

/// A place below the folder in which adapters may be that are no jobs.
#[derive(Debug)]
pub struct LeftOut {
    /// Its path below the folder, with `/` between folders.
    pub name: String,
    pub path: PathBuf,
    pub reason: WhyLeftOut,
}

/// Why a place is not searched.
#[derive(Debug)]
pub enum WhyLeftOut {
    /// A link to a folder elsewhere, which is not followed.
    LeadsOut,
    /// A link that leads nowhere, or to itself: nothing can be there.
    LeadsNowhere(Error),
    /// A folder that cannot be read, or an adapter whose name is not text.
    Unreadable(Error),
}

/// Finds the adapter folders below `folder`. Follows links to folders below it, and skips hidden folders. What cannot be read, and
/// links out of the folder, are left out: one of them must not keep the others from being done.
pub fn below(folder: &Path) -> Result<FolderJobs> {
    let mut found = FolderJobs::default();
    let mut outer: Option<PathBuf> = None;
    let root = folder.canonicalize().map_err(FileError::read(folder))?;
    let mut left_out: Vec<(PathBuf, WhyLeftOut)> = Vec::new();
    let mut leading_out = Vec::new();
    let is_searched = |entry: &DirEntry| {
        let is_visible = entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        let leads_out = is_visible && entry.depth() > 0 && entry.path_is_symlink() && entry.file_type().is_dir() && {
            !entry.path().canonicalize().is_ok_and(|target| target.starts_with(&root))
        };
        if leads_out {
            leading_out.push((entry.path().to_path_buf(), WhyLeftOut::LeadsOut));
        }
        is_visible && !leads_out
    };
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_searched) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => return Err(read_error(folder, error).into()),
            // What a link leads back to is found there.
            Err(error) if error.loop_ancestor().is_some() => continue,
            Err(error) => {
                left_out.push(unsearched(folder, error));
                continue;
            }
        };
        if !entry.file_type().is_dir() || !entry.path().join(config::FILE_NAME).is_file() {
            continue;
        }
        let inside = outer.as_ref().and_then(|outer| entry.path().strip_prefix(outer).ok());
        if inside.is_some_and(|inside| is_checkpoint(entry.path(), inside)) {
            found.nested.push(entry.into_path());
            continue;
        }
        // PEFT saves one of several adapters in the folder itself, and the others in folders of their names below.
        let is_another = inside.is_some();
        match job(folder, entry.path()) {
            Ok(job) => found.jobs.push(job),
            Err(error) if entry.depth() == 0 => return Err(error),
            Err(error) => {
                left_out.push((entry.into_path(), WhyLeftOut::Unreadable(error)));
                continue;
            }
        }
        if !is_another {
            outer = Some(entry.into_path());
        }
    }
    left_out.extend(leading_out);
    name_defaults(&mut found.jobs)?;
    if found.jobs.is_empty() {
        return Err(BatchError::NoAdapters { path: folder.into() }.into());
    }
    found.jobs.sort_by(|one, other| one.name.cmp(&other.name));
    let taken: HashSet<&str> = found.jobs.iter().map(|job| job.name.as_str()).collect();
    let named = left_out.into_iter().map(|(path, reason)| LeftOut::new(folder, path, reason, &taken));
    found.left_out = named.collect();
    found.left_out.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// A place that the walk met with an error.
fn unsearched(folder: &Path, error: walkdir::Error) -> (PathBuf, WhyLeftOut) {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let leads_nowhere = path.is_symlink() && path.metadata().is_err_and(|error| error.kind() != PermissionDenied);
    let error = read_error(folder, error).into();
    (path, if leads_nowhere { WhyLeftOut::LeadsNowhere(error) } else { WhyLeftOut::Unreadable(error) })
}

impl LeftOut {
    /// A place whose name is none of those `taken`: an adapter may lie in a folder that cannot be listed.
    fn new(folder: &Path, path: PathBuf, reason: WhyLeftOut, taken: &HashSet<&str>) -> Self {
        let parts = path.strip_prefix(folder).unwrap_or(&path).iter().map(|part| part.to_string_lossy());
        let mut name = parts.collect::<Vec<_>>().join("/");
        if taken.contains(name.as_str()) {
            name += "/*";
        }
        Self { name, path, reason }
    }

    /// What a batch records of it.
    pub fn record(&self) -> Record {
        let adapter = self.path.to_string_lossy();
        match &self.reason {
            WhyLeftOut::LeadsOut => {
                Record::left_out(&self.name, &adapter, &BatchError::LeadsOut { path: self.path.clone() }.into())
            }
            WhyLeftOut::LeadsNowhere(error) => Record::left_out(&self.name, &adapter, error),
            // An adapter may be missing from the results.
            WhyLeftOut::Unreadable(error) => {
                Record { exit_code: error.kind().exit_code(), ..Record::left_out(&self.name, &adapter, error) }
            }
        }
    }
}

/// One sentence for all links out of a folder, and one for all other places that are left out.
pub fn remarks(folder: &Path, left_out: &[LeftOut]) -> Vec<String> {
    let (mut leading_out, mut others) = (Vec::new(), Vec::new());
    for place in left_out {
        match &place.reason {
            WhyLeftOut::LeadsOut => leading_out.push(place.path.display().to_string()),
            WhyLeftOut::LeadsNowhere(error) | WhyLeftOut::Unreadable(error) => others.push(error),
        }
    }
    let links = first_names(&leading_out, MOST_NAMES);
    let links = (!leading_out.is_empty())
        .then(|| format!("links out of `{}` are not followed: {links}; a manifest can name them", folder.display()));
    let others = others
        .first()
        .map(|first| format!("{} below `{}` left out: {first}", plural(others.len(), "place"), folder.display()));
    links.into_iter().chain(others).collect()
}

/// Whether the adapter at `path` is a checkpoint of the one that it lies in, at `inside`: it, or a folder around it, is called so, or
/// it has the state of a trainer.
fn is_checkpoint(path: &Path, inside: &Path) -> bool {
    const NAMES: [&str; 7] = ["checkpoint", "ckpt", "epoch", "step", "global_step", "iter", "iteration"];
    let is_number = |rest: &str| {
        let rest = rest.trim_start_matches(['-', '_', '=']);
        rest.is_empty() || rest.starts_with(|character: char| character.is_ascii_digit())
    };
    let is_name =
        |name: &str| NAMES.iter().any(|beginning| name.to_lowercase().strip_prefix(beginning).is_some_and(is_number));
    let is_named = inside.iter().any(|part| part.to_str().is_some_and(is_name));
    is_named || ["trainer_state.json", "optimizer.pt"].iter().any(|name| path.join(name).is_file())
}

/// Calls an adapter that others lie in by PEFT's name for it, `default`, so that their outputs lie beside its own and not in it.
fn name_defaults(jobs: &mut [Job]) -> Result<()> {
    let names: HashSet<String> = jobs.iter().map(|job| job.name.clone()).collect();
    let holds_others =
        |name: &str| names.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
    for job in jobs.iter_mut().filter(|job| holds_others(&job.name)) {
        let name = format!("{}/default", job.name);
        if names.contains(&name) {
            return Err(BatchError::NameTaken { name, taken_by: "is that of another adapter".into() }.into());
        }
        job.name = name;
    }
    Ok(())
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

fn read_error(folder: &Path, error: walkdir::Error) -> FileError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
    FileError::Read { path, source }
}
