//! The work that one rendering may do, and the memory that it may take. A template is somebody else's program: it must stop.
//!
//! There is one account for both. Whatever makes much out of little pays before it makes it, so nothing is ever taken that was not
//! paid for; what is freed is not paid back.

use std::cell::Cell;

/// The result of a step of rendering, or why it fails.
pub type Evaluated<T> = Result<T, String>;

/// What a rendering may spend: one unit for each step, for each value in a list, and for each [`BYTES`] of text. So a template makes at
/// most 128 MB.
const UNITS: usize = 4_000_000;

/// The bytes of text that are made for one unit.
const BYTES: usize = 32;

/// The bytes of text that are looked at for one unit.
const BYTES_READ: usize = 1024;

/// What is left to spend.
#[derive(Debug)]
pub struct Fuel(Cell<usize>);

impl Default for Fuel {
    fn default() -> Self {
        Self(Cell::new(UNITS))
    }
}

impl Fuel {
    /// Pays for `steps`, or for as many values.
    pub fn spend(&self, steps: usize) -> Evaluated<()> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.ok_or("the template does too much work")?);
        Ok(())
    }

    /// Pays for making text of a length in bytes.
    pub fn spend_text(&self, bytes: usize) -> Evaluated<()> {
        self.spend(bytes / BYTES + 1)
    }

    /// Pays for looking at text of a length in bytes: for finding, comparing and counting.
    pub fn spend_reading(&self, bytes: usize) -> Evaluated<()> {
        self.spend(bytes / BYTES_READ)
    }

    /// What was spent.
    pub fn spent(&self) -> usize {
        UNITS - self.0.get()
    }
}
