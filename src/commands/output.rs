//! Where commands write: data to standard output, remarks to standard error.
//!
//! A reader of standard output that went away (`| head`) is not an error; everything else that keeps data from being written is.
//! Remarks are lost in silence, because there is nowhere left to complain.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{FileError, Result};
use crate::report::Report;

/// Writes to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a JSON object to standard output, indented.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(json(serde_json::to_string_pretty(value))? + "\n"))
}

/// Writes a JSON object to standard output, on one line.
pub fn print_json_line(value: &impl Serialize) -> Result<()> {
    print(&(json(serde_json::to_string(value))? + "\n"))
}

/// Writes to standard error, beside what a program may read on standard output.
pub fn remark(text: &str, quiet: bool) {
    if !quiet {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Prints the warnings of a report, one a line: last of all, so that nothing scrolls them away.
pub fn warn(report: &Report) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
}

/// Writes to standard output or, if that is for JSON, to standard error.
pub fn announce(text: &str, json: bool, quiet: bool) -> Result<()> {
    match json {
        true => remark(text, quiet),
        false if !quiet => print(text)?,
        false => {}
    }
    Ok(())
}

/// The error of writing to standard output, unless its reader went away.
pub fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(FileError::Stdout { source }.into()),
        _ => Ok(()),
    }
}

fn json(text: serde_json::Result<String>) -> std::result::Result<String, FileError> {
    text.map_err(|error| FileError::Stdout { source: error.into() })
}
