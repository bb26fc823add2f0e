//! Containers: how a file holds its records.
//!
//! A file may be compressed; then it is a table in a binary format, or text in one of several layouts. To add a container, write a
//! function that reads it and add a line to [`CONTAINERS`].

#[cfg(feature = "parquet")]
mod arrow;
#[cfg(feature = "parquet")]
mod cells;
mod compressed;
mod csv;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod text;
pub mod unreadable;
mod wrapper;

use std::path::Path;

use serde_json::Value;

use super::remarks::Remarks;
use crate::error::{Result, SampleError};
use crate::files;

/// The largest file of samples that is read, in bytes, and the most that one may have when it is decompressed. It is read as a
/// whole, and its values take several times as much memory.
pub const LARGEST: u64 = 256 << 20;

/// Takes a record and its line or, in a container without lines, its place; both count from 1.
pub type OnRecord<'a> = &'a mut dyn FnMut(usize, Value) -> Result<()>;

/// The bytes of a file of samples, decompressed.
pub struct SampleFile<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    /// The split to read, if the file has several.
    pub split: Option<&'a str>,
}

impl SampleFile<'_> {
    /// Whether the file's name has this ending, before the one of a compression.
    fn has_ending(&self, ending: &str) -> bool {
        compressed::name_inside(self.path).is_some_and(|name| name.to_ascii_lowercase().ends_with(ending))
    }

    fn malformed(&self, line: usize, problem: impl Into<String>) -> SampleError {
        SampleError::Malformed { path: self.path.into(), line, problem: problem.into() }
    }
}

/// A way to hold records in a file.
struct Container {
    /// What `--help` calls it.
    name: &'static str,
    /// Whether a file is of this kind.
    matches: fn(&SampleFile) -> bool,
    /// Reads the records one by one, because a record takes much more memory than the bytes that it is made of.
    read: fn(&SampleFile, &mut Remarks, OnRecord) -> Result<()>,
}

/// The first container that matches a file reads it.
const CONTAINERS: &[Container] = &[
    #[cfg(feature = "parquet")]
    Container { name: "Parquet", matches: |file| file.bytes.starts_with(parquet::MAGIC), read: parquet::read },
    #[cfg(feature = "parquet")]
    Container { name: "Arrow", matches: arrow::matches, read: arrow::read },
    Container {
        name: "CSV",
        matches: |file| file.has_ending(".csv"),
        read: |file, remarks, take| csv::read(file, b',', remarks, take),
    },
    Container {
        name: "TSV",
        matches: |file| file.has_ending(".tsv"),
        read: |file, remarks, take| csv::read(file, b'\t', remarks, take),
    },
    Container { name: "a JSON array", matches: |file| text::begins_with(file.bytes, '['), read: json::array },
    Container { name: "JSON lines", matches: |_| true, read: json::objects },
];

/// The names of all containers, for `--help`.
pub fn all() -> impl Iterator<Item = &'static str> {
    CONTAINERS.iter().map(|container| container.name)
}

/// Whether a file of a folder is named as one of samples.
pub fn is_named_as_samples(path: &Path) -> bool {
    let name = compressed::name_inside(path).map(str::to_ascii_lowercase);
    name.is_some_and(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

/// The endings of the names of files that are read from a folder.
const ENDINGS: [&str; 7] = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow"];

/// Passes each record of a file to `on_record`. `path` is for recognising the container and for messages.
pub fn for_each_record(
    path: &Path,
    bytes: Vec<u8>,
    split: Option<&str>,
    remarks: &mut Remarks,
    on_record: OnRecord,
) -> Result<()> {
    files::refuse_lfs_pointer(path, &bytes)?;
    let bytes = compressed::decompressed(path, bytes)?;
    let file = SampleFile { path, bytes: &bytes, split };
    if let Some(kind) = unreadable(&bytes) {
        return Err(SampleError::UnknownContainer { path: path.into(), kind }.into());
    }
    let container = CONTAINERS.iter().find(|container| (container.matches)(&file));
    container.map_or(Ok(()), |container| (container.read)(&file, remarks, on_record))
}

/// Beginnings of files that hold no samples that can be read, and what these files are.
const UNREADABLE: [(&[u8], &str); 12] = [
    (b"PK\x03\x04", "a Zip archive"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
    (b"\x04\x22\x4d\x18", "compressed by LZ4"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"GGUF", "a GGUF model"),
    #[cfg(not(feature = "parquet"))]
    (b"PAR1", "a Parquet file, which this build does not read"),
    #[cfg(not(feature = "parquet"))]
    (b"\xff\xff\xff\xff", "an Arrow file, which this build does not read"),
    #[cfg(feature = "parquet")]
    (b"ORC", "an ORC file"),
    #[cfg(feature = "parquet")]
    (b"Obj\x01", "an Avro file"),
];

/// What a file is that cannot be read, if its beginning tells.
fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    const TAR: std::ops::Range<usize> = 257..262;
    if bytes.get(TAR) == Some(b"ustar") {
        return Some("a tar archive");
    }
    UNREADABLE.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, kind)| *kind)
}
