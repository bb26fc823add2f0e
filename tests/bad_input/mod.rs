//! Bad input: one sentence with the path, an exit code of its own, nothing written, never a panic.

pub mod adapters;
#[cfg(feature = "hub")]
mod hub;
mod layouts;
mod models;
mod reports;
mod runs;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{copy_folder, fixture, lora_slim, read_json};

const USAGE: i32 = 2;
const BAD_INPUT: i32 = 3;
pub const IO: i32 = 4;
const GATE: i32 = 5;

/// A pico adapter and base that a test may break, and samples to run them on.
pub struct Setup {
    pub folder: TempDir,
}

impl Setup {
    pub fn new() -> Self {
        let setup = Self { folder: TempDir::new().unwrap() };
        copy_folder(&fixture("pico/llama-llama3-rope/adapter"), &setup.path("adapter"));
        copy_folder(&fixture("pico/llama-llama3-rope/base"), &setup.path("base"));
        fs::copy(fixture("pico/samples.tokens.jsonl"), setup.path("samples.jsonl")).unwrap();
        setup
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `slim` on the files of the folder.
    pub fn slim(&self, more: &[&str]) -> assert_cmd::Command {
        let mut command = lora_slim();
        command
            .current_dir(self.folder.path())
            .args(["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "-o", "out"])
            .args(more);
        command
    }

    /// Runs `slim`, which must fail with `code`, say all of `words`, panic nowhere and leave nothing.
    pub fn slim_fails(&self, more: &[&str], code: i32, words: &[&str]) {
        let output = self.slim(more).assert().code(code);
        let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        for word in words {
            assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
        }
        assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let left: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let strays = left.iter().filter(|name| name.to_string_lossy().starts_with(".lora-slim") || *name == "out");
        assert_eq!(strays.count(), 0, "{left:?}");
    }

    pub fn edit_json(&self, file: &str, edit: impl FnOnce(&mut Value)) {
        let mut value = read_json(&self.path(file));
        edit(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
    }
}

/// Runs `scan`, which must fail as on bad input and say all of `words`.
fn scan_fails(adapter: &Path, base: &Path, words: &[&str]) {
    let mut command = lora_slim();
    command.arg("scan").arg(adapter).arg("--base").arg(base);
    let output = command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(BAD_INPUT);
    let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    words.iter().for_each(|word| assert!(stderr.contains(word), "{}: {stderr}", adapter.display()));
}

/// A safetensors file from its header and the number of bytes behind it.
fn safetensors_with(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}
