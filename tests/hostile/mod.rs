//! Files made to do harm: whatever they claim, the program ends with a sentence that names them, in bounded memory.

mod adapters;
mod attacks;
mod disks;
mod models;
mod templates;
mod text;
mod tokenizers;

use std::fs::{self, File};
use std::path::Path;

use crate::bad_input::Setup;
use crate::support::kill::strays;
use crate::support::limits::bounded;

const BAD_INPUT: i32 = 3;
const IO: i32 = 4;

const SLIM: [&str; 9] = ["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "-oout"];

/// Runs a command with bounded memory, which must refuse the input and name `path`. Gives what was said.
fn refused(setup: &Setup, args: &[&str], path: &str) -> String {
    let assert = bounded().current_dir(setup.folder.path()).args(args).assert();
    let output = assert.get_output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(BAD_INPUT), "{path}: {}: {text}", output.status);
    assert!(text.contains(path) && text.starts_with("error: ") && !text.contains("panicked"), "{path}: {text}");
    // A sentence, not a copy of the file.
    assert!(text.len() < 2000, "{path}: {} bytes", text.len());
    assert!(strays(setup.folder.path()).is_empty() && !setup.path("out").exists());
    text
}

fn slim_refused(setup: &Setup, path: &str) -> String {
    refused(setup, &SLIM, path)
}

/// A file of a terabyte that takes no room on disk, beginning with `bytes`.
fn vast(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
}

/// `[[[[…` without an end, or as deep as a stack is not.
fn deep(open: &str, close: &str) -> String {
    open.repeat(1_000_000) + &close.repeat(1_000_000)
}
