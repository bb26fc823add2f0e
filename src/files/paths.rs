//! Questions about paths of things that need not exist.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{FileError, Result};

/// Whether anything has this name, including a link that leads nowhere.
pub fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether one of two resolved paths contains the other, or both are the same.
pub fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The absolute path of something that need not exist: its nearest existing ancestor, resolved, and the rest.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(FileError::write(path))?;
    let mut existing = absolute.as_path();
    let mut resolved = loop {
        match existing.canonicalize() {
            Ok(resolved) => break resolved,
            // It does not exist, or was removed at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match existing.parent() {
                Some(parent) => existing = parent,
                None => return Err(FileError::write(path)(error).into()),
            },
            Err(error) => return Err(FileError::write(path)(error).into()),
        }
    };
    let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
    for part in rest.components() {
        match part {
            Component::ParentDir => _ = resolved.pop(),
            part => resolved.push(part),
        }
    }
    Ok(resolved)
}
