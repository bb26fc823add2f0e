//! What the cells of a table may take in memory.
//!
//! A table can repeat a cell in a few bits, so the size of its file bounds nothing. What is made of the cells is counted instead.

use serde_json::Value;

use super::LARGEST;
use crate::files::json;

/// The bytes that a value takes at least.
const VALUE: u64 = 4;

/// Counts the bytes of a table's cells.
#[derive(Default)]
pub struct Budget(u64);

impl Budget {
    /// Pays for a value with so many bytes of text.
    pub fn pay(&mut self, text: usize) -> Result<(), String> {
        self.0 = self.0.saturating_add(VALUE + text as u64);
        if self.0 > LARGEST { Err(format!("its cells have more than {LARGEST} bytes")) } else { Ok(()) }
    }

    /// Pays for a text.
    pub fn text(&mut self, text: &str) -> Result<Value, String> {
        self.pay(text.len())?;
        Ok(text.into())
    }

    /// Pays for a text that a column of JSON holds, and parses it.
    pub fn json(&mut self, text: &str) -> Result<Value, String> {
        self.pay(text.len())?;
        json::parse(text.as_bytes()).map_err(|error| format!("not JSON: {error}"))
    }
}
