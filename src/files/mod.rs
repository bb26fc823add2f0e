//! Files: JSON with the path in every error, hashes, and files and folders that appear whole or not at all.

mod claim;
mod hold;
mod moves;
mod new_file;
mod output;
mod scratch;
mod staging;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{FileError, Result};
use crate::tensors::refuse_lfs_pointer;
pub use new_file::NewFile;
pub use output::{check_apart, check_output, check_outputs_apart};
pub use scratch::Scratch;
pub use staging::Staging;

/// Parses a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(FileError::read(path))?;
    refuse_lfs_pointer(path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|source| FileError::Json { path: path.into(), source }.into())
}

/// The SHA-256 of a file, in hexadecimal. It is what Git LFS and the Hugging Face Hub call the file's oid.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(FileError::read(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(FileError::read(path))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the names in a folder durable. Folders cannot be synced on every system, so only Unix tries.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
