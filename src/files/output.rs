//! Whether something may be written to a place: it overlaps no input, and what stands there may be replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::claim::Claim;
use super::scratch;
use crate::error::{FileError, Result};
use crate::files::REPORT_NAME;

/// Whether `output` may be written: it is no input, lies in none, holds none, and is not there yet (or, with `force`,
/// is an adapter folder or an empty one). Called before any work, so that a long run cannot fail at its end. What a killed run
/// left is cleared up before: it may be what stands there.
pub fn check_output(output: &Path, inputs: &[&Path], force: bool) -> Result<()> {
    check_apart(output, inputs)?;
    Claim::clear_up(output)?;
    scratch::clear_up();
    check_free(output, force)
}

/// Whether nothing stands at `output`, or, with `force`, what may be replaced.
pub(super) fn check_free(output: &Path, force: bool) -> Result<()> {
    if !is_taken(output) {
        return Ok(());
    }
    if !force {
        return Err(FileError::OutputExists { path: output.into() }.into());
    }
    let replaceable = ["adapter_config.json", REPORT_NAME].iter().any(|file| output.join(file).is_file())
        || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    if !replaceable {
        return Err(FileError::OutputNotAnAdapter { path: output.into() }.into());
    }
    Ok(())
}

/// Whether anything has this name, a link that leads nowhere included.
pub(super) fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether `output` is no input, lies in none and holds none.
pub fn check_apart(output: &Path, inputs: &[&Path]) -> Result<()> {
    let resolved = resolve(output)?;
    for input in inputs {
        let input = input.canonicalize().map_err(FileError::read(input))?;
        if overlap(&resolved, &input) {
            return Err(FileError::OutputOverlapsInput { output: output.into(), input }.into());
        }
    }
    Ok(())
}

/// Whether two outputs, which need not exist, are apart from each other.
pub fn check_outputs_apart(one: &Path, other: &Path) -> Result<()> {
    if overlap(&resolve(one)?, &resolve(other)?) {
        return Err(FileError::OutputsOverlap { one: one.into(), other: other.into() }.into());
    }
    Ok(())
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The absolute path of something that need not exist: its nearest existing ancestor, resolved, and the rest.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(FileError::write(path))?;
    let mut existing = absolute.as_path();
    let mut resolved = loop {
        match existing.canonicalize() {
            Ok(resolved) => break resolved,
            // It is not there, or has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match existing.parent() {
                Some(parent) => existing = parent,
                None => return Err(FileError::write(path)(error).into()),
            },
            Err(error) => return Err(FileError::write(path)(error).into()),
        }
    };
    let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
    for part in rest.components() {
        match part {
            std::path::Component::ParentDir => _ = resolved.pop(),
            part => resolved.push(part),
        }
    }
    Ok(resolved)
}
