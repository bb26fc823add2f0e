//! Checks of a place before anything is written there: it overlaps no input, and whatever exists there may be replaced.

use std::fs;
use std::path::Path;

use super::REPORT_NAME;
use super::claim::Claim;
use super::paths::{is_taken, overlap, resolve};
use super::scratch;
use crate::error::{FileError, Result};

/// Checks that `output` may be written: it is no input, lies in none, contains none, and does not exist (or, with `force`, is an
/// adapter folder or an empty one). Call it before any work, so that a long run cannot fail at its end. It first clears up what
/// a killed run left, which may be what exists there.
pub fn check_output(output: &Path, inputs: &[&Path], force: bool) -> Result<()> {
    check_apart(output, inputs)?;
    Claim::clear_up(output)?;
    scratch::clear_up();
    check_free(output, force)
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
    if is_replaceable { Ok(()) } else { Err(FileError::OutputNotAnAdapter { path: output.into() }.into()) }
}

/// Checks that `output` is no input, lies in none and contains none.
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

/// Checks that neither of two outputs, which need not exist, contains the other.
pub fn check_outputs_apart(one: &Path, other: &Path) -> Result<()> {
    if overlap(&resolve(one)?, &resolve(other)?) {
        return Err(FileError::OutputsOverlap { one: one.into(), other: other.into() }.into());
    }
    Ok(())
}
