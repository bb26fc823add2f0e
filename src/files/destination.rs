//! Where an output is made: at its place or, on a dry run, where it vanishes.

use std::path::Path;

use super::output::check_output;
use super::scratch::Scratch;
use super::staging::Staging;
use crate::error::Result;

/// A folder in preparation, which may be one that nobody will see.
pub struct Destination {
    pub staging: Staging,
    /// What holds the folder of a dry run.
    _scratch: Option<Scratch>,
}

impl Destination {
    /// Reserves the place of an output, as [`Staging::reserve`] does.
    pub fn reserve(output: &Path, inputs: &[&Path], force: bool) -> Result<Self> {
        Ok(Self { staging: Staging::reserve(output, inputs, force)?, _scratch: None })
    }

    /// A temporary folder. If there is an output, its place is checked all the same.
    pub fn nowhere(output: Option<&Path>, inputs: &[&Path], force: bool) -> Result<Self> {
        if let Some(output) = output {
            check_output(output, inputs, force)?;
        }
        let scratch = Scratch::new()?;
        Ok(Self { staging: Staging::in_scratch(&scratch, "dry-run")?, _scratch: Some(scratch) })
    }
}
