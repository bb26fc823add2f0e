//! Where samples are: files, a pipe, the folder of a data set, or one that `datasets` saved.

use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use super::read::PassedFiles;
use super::remarks::Remarks;
use super::{containers, splits};
use crate::error::{FileError, Result, SampleError};
use crate::files;
use crate::format::first_names;
use crate::hub::name::{HubName, is_address};

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// The most files of a folder that are looked at, and the depth of folders.
const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 4;

/// The most names that a remark lists.
const MOST_NAMES: usize = 10;

/// Files that lie beside those of a data set and hold no samples.
const BESIDE: [&str; 6] =
    ["readme.md", "license", "license.md", "license.txt", "dataset_infos.json", "dataset_info.json"];

/// Files to read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub files: Vec<PathBuf>,
    /// The split to read from within each file, where their names did not choose it.
    pub split: Option<String>,
}

/// The files of samples at a path.
pub fn find(path: &Path, split: Option<&str>, remarks: &mut Remarks) -> Result<Found> {
    if !path.is_dir() {
        return Ok(Found { files: vec![path.into()], split: split.map(String::from) });
    }
    files::inputs::declare(path);
    let files = if path.join("dataset_dict.json").is_file() {
        let saved = field(&path.join("dataset_dict.json"), "splits")?;
        let names: Vec<&str> = saved.iter().filter_map(Value::as_str).collect();
        saved_files(&path.join(files_name(path, splits::choose(path, &names, split)?)?))?
    } else if path.join("state.json").is_file() {
        if let Some(split) = split {
            return Err(SampleError::NoSplit { path: path.into(), split: split.into(), splits: String::new() }.into());
        }
        saved_files(path)?
    } else {
        folder_files(path, split, remarks)?
    };
    Ok(Found { files, split: None })
}

/// The list under a key of a JSON file.
fn field(path: &Path, key: &str) -> Result<Vec<Value>> {
    let value: Value = files::read_json(path)?;
    let list = value.get(key).and_then(Value::as_array).cloned();
    Ok(list.ok_or_else(|| malformed(path, format!("`{key}` should be a list")))?)
}

/// The files of a data set that `save_to_disk` wrote, in their order.
fn saved_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let state_path = folder.join("state.json");
    let state: Value = files::read_json(&state_path)?;
    // Older versions kept a selection of the rows beside the tables.
    for key in ["_indices_data_files", "_indices_files"] {
        if state.get(key).is_some_and(crate::account::is_set) {
            let reason = "it selects rows; save the data set again after `flatten_indices()`";
            return Err(SampleError::Unsupported {
                path: state_path,
                line: 1,
                field: key.into(),
                reason: reason.into(),
            }
            .into());
        }
    }
    let files = field(&state_path, "_data_files")?;
    let name = |file: &Value| file.get("filename").and_then(Value::as_str).map(String::from);
    let names = files.iter().map(name).collect::<Option<Vec<_>>>();
    let names = names.ok_or_else(|| malformed(&state_path, "each of `_data_files` should have a `filename`".into()))?;
    names.iter().map(|name| Ok(folder.join(files_name(&state_path, name)?))).collect()
}

/// A name that stays in its folder.
fn files_name<'a>(path: &Path, name: &'a str) -> Result<&'a str> {
    let is_plain = !name.is_empty() && name != ".." && name != "." && !name.contains(['/', '\\']);
    if is_plain { Ok(name) } else { Err(malformed(path, format!("`{name}` is not the name of a file")).into()) }
}

fn malformed(path: &Path, problem: String) -> SampleError {
    SampleError::Malformed { path: path.into(), line: 1, problem }
}

/// The files of a folder that hold samples, in the order of their names: those of one split, if their names tell splits.
fn folder_files(folder: &Path, split: Option<&str>, remarks: &mut Remarks) -> Result<Vec<PathBuf>> {
    let (mut samples, mut others) = (Vec::new(), Vec::new());
    let is_visible = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
    let entries = WalkDir::new(folder).max_depth(DEEPEST).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| entry.depth() == 0 || is_visible(entry.file_name()));
    for entry in entries.take(MOST_FILES) {
        let entry = entry.map_err(|error| FileError::read(folder)(error.into()))?;
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        if entry.path().is_dir() || BESIDE.contains(&name.as_str()) {
            continue;
        }
        let path = entry.into_path();
        if containers::is_named_as_samples(&path) { samples.push(path) } else { others.push(name) }
    }
    if !others.is_empty() {
        let names = first_names(&others, MOST_NAMES);
        remarks.say(format!(
            "of the folder `{}`, {names} are not read: their names are not those of samples",
            folder.display()
        ));
    }
    if samples.is_empty() {
        return Err(SampleError::NoFiles { path: folder.into() }.into());
    }
    let chosen = of_split(folder, samples, split, remarks)?;
    one_set(folder, &chosen)?;
    Ok(chosen)
}

/// The files of one split. Without names of splits, all files are one.
fn of_split(folder: &Path, files: Vec<PathBuf>, split: Option<&str>, remarks: &mut Remarks) -> Result<Vec<PathBuf>> {
    let known: Vec<Option<&str>> = files.iter().map(|path| split_of(folder, path)).collect();
    let mut names: Vec<&str> = known.iter().flatten().copied().collect();
    names.sort();
    names.dedup();
    if names.is_empty() && split.is_none() {
        return Ok(files);
    }
    let chosen = splits::choose(folder, &names, split)?;
    let of_none = files.iter().zip(&known).filter(|(_, known)| known.is_none());
    let of_none: Vec<String> = of_none.map(|(path, _)| path.display().to_string()).collect();
    if !of_none.is_empty() {
        let names = first_names(&of_none, MOST_NAMES);
        remarks.say(format!("{names} are not read: their names tell no split, and others tell `{chosen}`"));
    }
    Ok(files.into_iter().zip(known).filter(|(_, known)| *known == Some(chosen)).map(|(path, _)| path).collect())
}

/// The split that a file belongs to by a word of its name, or else of its folders.
fn split_of(folder: &Path, path: &Path) -> Option<&'static str> {
    let inside = path.strip_prefix(folder).ok()?;
    let words = |part: &std::ffi::OsStr| {
        part.to_string_lossy().split(|letter: char| !letter.is_ascii_alphanumeric()).find_map(splits::named)
    };
    inside.iter().rev().find_map(words)
}

/// Refuses files of several folders, apart from those of a split: they are different sets of one name (`main` and `socratic`).
fn one_set(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let mut sets: Vec<String> =
        files.iter().filter_map(|path| Some(path.parent()?.strip_prefix(folder).ok()?.display().to_string())).collect();
    sets.sort();
    sets.dedup();
    if sets.len() <= 1 {
        return Ok(());
    }
    Err(SampleError::SeveralSets { path: folder.into(), sets: first_names(&sets, MOST_NAMES) }.into())
}

/// The files that a path stands for, for stamps of what was read: those of a folder, or the path itself where they cannot be told.
pub fn inputs(path: &Path, split: Option<&str>) -> Vec<PathBuf> {
    if path == Path::new(STANDARD_INPUT) {
        return vec!["/dev/stdin".into()];
    }
    find(path, split, &mut Remarks::default()).map_or_else(|_| vec![path.into()], |found| found.files)
}

/// The paths that exist on disk, for checks of where an output may be.
pub fn on_disk<'a>(paths: &'a [PathBuf], passed: &'a PassedFiles) -> impl Iterator<Item = &'a Path> {
    let is_on_disk = |path: &&PathBuf| !passed.contains_key(*path) && path.as_path() != Path::new(STANDARD_INPUT);
    paths.iter().filter(is_on_disk).map(PathBuf::as_path)
}

/// Refuses a path that nothing is at. What looks like the name of a data set on a server may be just that.
pub fn check_exists(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    let is_name = || HubName::parse(&text).is_some_and(|name| name.has_organisation() && path.extension().is_none());
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_remote = is_address(&text) || is_name();
            Err(SampleError::NotThere { path: path.into(), is_remote }.into())
        }
        found => Ok(found.map(drop).map_err(FileError::read(path))?),
    }
}

/// The bytes of a file, of a pipe, or of standard input, within a bound.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    if path == Path::new(STANDARD_INPUT) {
        return files::read_pipe(std::io::stdin().lock(), Path::new("standard input"), most);
    }
    files::read_stream_up_to(path, most)
}

/// The path as messages and the report name it.
pub fn named(path: &Path) -> PathBuf {
    if path == Path::new(STANDARD_INPUT) { "standard input".into() } else { path.into() }
}
