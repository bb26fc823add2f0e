//! Checks of a place before anything is written there: it overlaps no input, and whatever exists there may be replaced.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::claim::Claim;
use super::folder::{Access, Folder};
use super::paths::{is_taken, overlap, resolve};
use super::{REPORT_NAME, inputs, scratch};
use crate::error::{FileError, Result};

/// How a report in the folder of an output begins, between its schema's version and the rest.
const REPORT_MARK: &str = "\"tool\": {\n    \"name\": \"lora-slim\"";

/// Checks that `output` may be written: it is no input, lies in none, contains none, and does not exist (or, with `force`, is an
/// adapter folder or an empty one). Call it before any work, so that a long run cannot fail at its end. It first clears up what
/// a killed run left, which may be what exists there.
pub fn check_output(output: &Path, inputs: &[&Path], force: bool) -> Result<()> {
    check_apart(output, inputs)?;
    Claim::clear_up(output)?;
    scratch::clear_up();
    check_free(output, force)
}

/// Clears up what a run left beside an output that is not to be written now. What another run is working on stays.
pub fn clear_up(output: &Path) {
    let _ = Claim::clear_up(output);
}

/// Checks that nothing exists at `output` or, with `force`, that it may be replaced.
pub(super) fn check_free(output: &Path, force: bool) -> Result<()> {
    if !is_taken(output) {
        return Ok(());
    }
    if !force {
        return Err(FileError::OutputExists { path: output.into() }.into());
    }
    let is_replaceable = ["adapter_config.json", REPORT_NAME].iter().any(|file| output.join(file).is_file())
        || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    if !is_replaceable {
        return Err(FileError::OutputNotAnAdapter { path: output.into() }.into());
    }
    check_not_mounted(output)
}

/// Checks that nothing is mounted at a folder that is to be replaced, or below: it could not be renamed, or its files
/// would be removed with the folder.
fn check_not_mounted(output: &Path) -> Result<()> {
    let mount = Folder::open(&resolve(output)?).and_then(|folder| folder.mount_below());
    match mount.map_err(FileError::read(output))? {
        Some(path) => Err(FileError::MountPoint { path }.into()),
        None => Ok(()),
    }
}

/// The error of an output that is complete and cannot get its name.
pub(super) fn not_published(output: &Path, source: io::Error) -> FileError {
    match source.kind() {
        io::ErrorKind::ResourceBusy => FileError::MountPoint { path: output.into() },
        _ => FileError::Write { path: output.into(), source },
    }
}

/// Whether a folder has a report that this program wrote.
pub fn has_own_report(folder: &Path) -> bool {
    let report = Folder::open(folder).and_then(|folder| folder.open_file(REPORT_NAME.as_ref(), Access::Read));
    let mut beginning = Vec::new();
    let read = report.and_then(|file| file.take(200).read_to_end(&mut beginning));
    let text = String::from_utf8_lossy(&beginning);
    read.is_ok() && text.starts_with("{\n  \"schema_version\": ") && text.contains(REPORT_MARK)
}

/// Checks that `output` is no input, lies in none and contains none: neither of these, nor of those that are known
/// already.
pub fn check_apart(output: &Path, inputs: &[&Path]) -> Result<()> {
    for input in inputs {
        input.canonicalize().map_err(FileError::read(input))?;
        inputs::declare(input);
    }
    inputs::check(output)
}

/// Checks a folder in which outputs are made, and which may hold other things: it lies in no input, and none of these
/// lies in it.
pub fn check_folder(folder: &Path, inputs: &[&Path]) -> Result<()> {
    let resolved = resolve(folder)?;
    for input in inputs {
        inputs::declare(input);
        let input = input.canonicalize().map_err(FileError::read(input))?;
        if overlap(&resolved, &input) {
            return Err(FileError::OutputOverlapsInput { output: folder.into(), input }.into());
        }
    }
    inputs::check_folder(folder)
}

/// Checks that neither of two outputs, which need not exist, contains the other.
pub fn check_outputs_apart(one: &Path, other: &Path) -> Result<()> {
    if overlap(&resolve(one)?, &resolve(other)?) {
        return Err(FileError::OutputsOverlap { one: one.into(), other: other.into() }.into());
    }
    Ok(())
}
