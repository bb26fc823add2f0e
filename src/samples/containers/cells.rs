//! The cells of binary tables, within bounds.
//!
//! A table can repeat a cell in a few bits, so the size of its file bounds nothing. What is made of the cells is counted instead.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use serde_json::Value;

use super::{LARGEST, unreadable};
use crate::files::json;

/// The bytes that a value takes at least.
const VALUE: u64 = 4;

/// The value of a cell, or what is wrong with it.
pub type CellValue = Result<Value, String>;

thread_local! {
    /// Whether a panic of this thread is caught and told by an error.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Reads a part of a table through a library that asserts what broken files do not keep. Its panics print nothing.
pub fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                others(info);
            }
        }));
    });
    let was_guarded = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(was_guarded);
    result.unwrap_or_else(|_| Err("its parts contradict each other".into()))
}

/// Counts the bytes of a table's cells.
#[derive(Default)]
pub struct CellBudget(u64);

impl CellBudget {
    /// Pays for a value with so many bytes of text.
    pub fn pay(&mut self, text: usize) -> Result<(), String> {
        self.0 = self.0.saturating_add(VALUE + text as u64);
        if self.0 > LARGEST { Err(format!("its cells have more than {LARGEST} bytes")) } else { Ok(()) }
    }

    /// Pays for a text.
    pub fn text(&mut self, text: &str) -> CellValue {
        self.pay(text.len())?;
        Ok(text.into())
    }

    /// Pays for bytes that should be a text.
    pub fn utf8(&mut self, bytes: &[u8]) -> CellValue {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) => Ok(unreadable::cell("bytes that are not UTF-8")),
        }
    }

    /// Pays for a text that a column of JSON holds, and parses it.
    pub fn json(&mut self, text: &str) -> CellValue {
        self.pay(text.len())?;
        json::parse(text.as_bytes()).map_err(|error| format!("not JSON: {error}"))
    }
}
