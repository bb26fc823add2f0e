//! Files: bounded reading with the path in every error, hashes, and outputs that appear complete or not at all.

mod claim;
mod destination;
mod folder;
mod identity;
pub mod inputs;
pub mod json;
pub mod json_stream;
mod lock;
mod new_file;
mod output;
mod paths;
mod scratch;
mod staging;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{FileError, Result};
pub use destination::Destination;
pub use folder::{Access, Folder};
pub use identity::FileState;
pub use lock::{FileLock, LockAttempt, LockMode};
pub use new_file::{NewFile, check_replaceable};
pub use output::{check_apart, check_folder, check_output, check_outputs_apart, clear_up, has_own_report};
pub use scratch::Scratch;
pub use staging::Staging;

/// The name of the report inside a slimmed adapter's folder.
pub const REPORT_NAME: &str = "slim_report.json";

/// The largest JSON file that is read. Configurations have some kilobytes, lists of shards some megabytes.
pub const LARGEST_JSON: u64 = 64 << 20;

/// Opens a regular file for reading; links to one are followed. Whatever else has this name is refused: opening a pipe waits for its
/// other end, and a device may never come to an end. Only samples may be such ([`read_stream_up_to`]).
pub fn open(path: &Path) -> Result<File> {
    // Before it is opened, because opening a device may do something to it.
    let there = path.metadata().map_err(FileError::read(path))?;
    refuse_other_kinds(path, &there)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe may have come into its place since. For a regular file the flag means nothing.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(FileError::read(path))?;
    refuse_other_kinds(path, &file.metadata().map_err(FileError::read(path))?)?;
    inputs::declare(path);
    Ok(file)
}

fn refuse_other_kinds(path: &Path, metadata: &Metadata) -> Result<()> {
    match kind_of(metadata) {
        None => Ok(()),
        Some(kind) => Err(FileError::NotAFile { path: path.into(), kind }.into()),
    }
}

/// What something is that is no regular file, for messages.
pub fn kind_of(metadata: &Metadata) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    match metadata.is_dir() {
        true => Some("a folder"),
        false if metadata.is_file() => None,
        false => Some("a device"),
    }
}

/// Whether two looks at a file found the same one.
pub fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.len() == other.len() && one.modified().ok() == other.modified().ok()
    }
}

/// The bytes of a regular file that has at most `most` of them.
pub fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    read_opened(open(path)?, path, most)
}

/// The bytes of a file, or of a pipe or device, which is waited for, that has at most `most` of them.
pub fn read_stream_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).open(path).map_err(FileError::read(path))?;
    inputs::declare(path);
    read_opened(file, path, most)
}

/// The bytes of an open file that has at most `most` of them. An error if it is written to meanwhile.
pub fn read_opened(mut file: File, path: &Path, most: u64) -> Result<Vec<u8>> {
    let too_large = || FileError::TooLarge { path: path.into(), most };
    let metadata = file.metadata().map_err(FileError::read(path))?;
    if metadata.len() > most {
        return Err(too_large().into());
    }
    // A pipe does not tell its length, and a growing vector takes twice the memory.
    let length = if metadata.is_file() { metadata.len() } else { most };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length as usize + 1).map_err(|error| FileError::read(path)(error.into()))?;
    (&mut file).take(most + 1).read_to_end(&mut bytes).map_err(FileError::read(path))?;
    if bytes.len() as u64 > most {
        return Err(too_large().into());
    }
    let now = file.metadata().map_err(FileError::read(path))?;
    if metadata.is_file() && FileState::of(&metadata) != FileState::of(&now) {
        return Err(FileError::Changed { path: path.into() }.into());
    }
    Ok(bytes)
}

/// The bytes that a pipe gives, at most `most` of them. `name` is for messages.
pub fn read_pipe(pipe: impl Read, name: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(most + 1).read_to_end(&mut bytes).map_err(FileError::read(name))?;
    if bytes.len() as u64 > most { Err(FileError::TooLarge { path: name.into(), most }.into()) } else { Ok(bytes) }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The text of a UTF-8 file that has at most `most` bytes.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_up_to(path, most)?)
        .map_err(|error| FileError::read(path)(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())).into())
}

/// Parses a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_json_text(path)?;
    json::parse(&bytes)
        .and_then(serde_json::from_value)
        .map_err(|source| FileError::Json { path: path.into(), source }.into())
}

/// The `config.json` of a model. Before transformers 5, an infinite limit of Mamba's steps was written as Python's `Infinity`; it is
/// read as null. Nothing else may be infinite, or not a number.
pub fn read_model_config<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let json::PythonJson { value, nan, infinite, .. } = read_python_json(path)?;
    if !nan.is_empty() || infinite.iter().any(|key| key != "time_step_limit") {
        return read_json(path);
    }
    serde_json::from_value(value).map_err(|source| FileError::Json { path: path.into(), source }.into())
}

/// Parses a JSON file that Python may have written.
pub fn read_python_json(path: &Path) -> Result<json::PythonJson> {
    let bytes = read_json_text(path)?;
    Ok(json::parse_python(&bytes).map_err(|source| FileError::Json { path: path.into(), source })?)
}

/// The text of a JSON file, which is UTF-8 without a byte order mark: Python's reader takes no other.
fn read_json_text(path: &Path) -> Result<Vec<u8>> {
    let bytes = read_up_to(path, LARGEST_JSON)?;
    refuse_lfs_pointer(path, &bytes)?;
    match json::other_encoding(&bytes) {
        Some(encoding) => Err(FileError::Encoding { path: path.into(), encoding }.into()),
        None => Ok(bytes),
    }
}

/// The BLAKE3 hash of a file, in hexadecimal, as `b3sum` prints it. SHA-256 takes four times as long, which is longer than copying
/// the file.
pub fn blake3(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).map_err(FileError::read(path))?;
    Ok(hasher.finalize().to_string())
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the names in a folder durable. Only on Unix, because other systems cannot sync folders.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { OpenOptions::new().read(true).open(path)?.sync_all() } else { Ok(()) }
}

/// Refuses a Git LFS pointer, the most common kind of "broken" weight file or config.
pub(crate) fn refuse_lfs_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(b"version https://git-lfs.github.com/") {
        return Err(FileError::LfsPointer { path: path.into() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vectors of BLAKE3: bytes that count to 250 and begin anew.
    #[test]
    fn hashes_are_those_of_the_published_vectors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (length, expected) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(blake3(&path).unwrap(), expected, "{length}");
        }
    }
}
