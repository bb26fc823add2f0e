//! Containers: how a file holds its records.
//!
//! To add a container, write a function that reads it and add a line to [`CONTAINERS`].

use std::path::Path;

use serde_json::Value;

use crate::error::{Result, SampleError};
use crate::files::json;

/// Takes a record and its line or, in a container without lines, its place; both count from 1.
pub type OnRecord<'a> = &'a mut dyn FnMut(usize, Value) -> Result<()>;

/// A way to hold records in a file.
struct Container {
    /// What `--help` calls it.
    name: &'static str,
    /// Whether a file is of this kind.
    matches: fn(&Path, &[u8]) -> bool,
    /// Reads the records one by one, because a record takes much more memory than the bytes that it is made of.
    read: fn(&Path, &[u8], OnRecord) -> Result<()>,
}

/// The first container that matches a file reads it.
const CONTAINERS: [Container; 2] = [
    Container { name: "a JSON array", matches: |_, bytes| begins_with(bytes, b'['), read: json_array },
    Container { name: "JSON lines", matches: |_, _| true, read: json_lines },
];

/// The names of all containers, for `--help`.
pub fn all() -> impl Iterator<Item = &'static str> {
    CONTAINERS.iter().map(|container| container.name)
}

/// Passes each record of a file to `on_record`. `path` is for recognising the container and for messages.
pub fn for_each_record(path: &Path, bytes: &[u8], on_record: OnRecord) -> Result<()> {
    let container = CONTAINERS.iter().find(|container| (container.matches)(path, bytes));
    container.map_or(Ok(()), |container| (container.read)(path, bytes, on_record))
}

fn json_array(path: &Path, bytes: &[u8], on_record: OnRecord) -> Result<()> {
    let (mut place, mut result) = (0, Ok(()));
    let parsed = json::for_each(utf8(path, bytes)?.as_bytes(), |value| {
        place += 1;
        if result.is_ok() {
            result = on_record(place, value);
        }
    });
    result?;
    Ok(parsed.map_err(|error| malformed(path, error.line(), format!("not JSON: {error}")))?)
}

fn json_lines(path: &Path, bytes: &[u8], on_record: OnRecord) -> Result<()> {
    let lines = (1..).zip(utf8(path, bytes)?.lines()).filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let value = json::parse(line.as_bytes()).map_err(|error| {
            let message = error.to_string();
            // serde_json counts lines within this line, which would be misleading.
            malformed(path, number, format!("not JSON: {}", message.split(" at line").next().unwrap_or(&message)))
        })?;
        on_record(number, value)?;
    }
    Ok(())
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

fn begins_with(bytes: &[u8], first: u8) -> bool {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes);
    bytes.trim_ascii_start().first() == Some(&first)
}

fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> std::result::Result<&'a str, SampleError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        malformed(path, line, "it is not UTF-8".into())
    })?;
    Ok(text.trim_start_matches(BYTE_ORDER_MARK))
}

fn malformed(path: &Path, line: usize, problem: String) -> SampleError {
    SampleError::Malformed { path: path.into(), line, problem }
}
