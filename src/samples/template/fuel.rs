//! The work that one rendering may do. A template is somebody else's program: it must stop.

use std::cell::Cell;

/// The result of a step of rendering, or why it fails.
pub type Evaluated<T> = Result<T, String>;

/// One unit for each step and for each 64 bytes of text, so that a template makes at most 128 MB.
const UNITS: usize = 2_000_000;

/// What is left of the work.
#[derive(Debug)]
pub struct Fuel(Cell<usize>);

impl Default for Fuel {
    fn default() -> Self {
        Self(Cell::new(UNITS))
    }
}

impl Fuel {
    /// Pays for `steps`. Whatever makes much out of little pays before it makes it.
    pub fn spend(&self, steps: usize) -> Evaluated<()> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.ok_or("the template does too much work")?);
        Ok(())
    }

    /// Pays for text of a length in bytes.
    pub fn spend_text(&self, bytes: usize) -> Evaluated<()> {
        self.spend(bytes / 64 + 1)
    }
}
