//! Holding a folder: while one process does, no other takes it, and when that process dies it is free.
//!
//! The lock is an advisory one on a file in the folder, which the operating system lets go with its process, however that ends.
//! A file, not the folder's own handle: folders cannot be locked over NFS or on Windows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The file that is locked. It goes away last of all that is in the folder.
const LOCK: &str = "lock";

/// A folder that this process alone works in.
#[derive(Debug)]
pub struct Hold {
    lock: PathBuf,
    _file: File,
}

/// What came of an attempt to hold a folder.
pub enum Attempt {
    Held(Hold),
    /// Another process holds it.
    Taken,
    /// The process that held it removed it in this moment.
    Gone,
    /// The file system has no locks.
    NoLocks,
}

impl Hold {
    /// Takes a folder that exists. Where `create` is false, a folder without a lock file counts as gone.
    pub fn attempt(folder: &Path, create: bool) -> io::Result<Attempt> {
        let lock = folder.join(LOCK);
        let file = match OpenOptions::new().write(true).create(create).truncate(false).open(&lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, &lock) => Ok(Attempt::Held(Self { lock, _file: file })),
            Ok(()) => Ok(Attempt::Gone),
            Err(TryLockError::WouldBlock) => Ok(Attempt::Taken),
            Err(TryLockError::Error(_)) => {
                let _ = fs::remove_file(&lock);
                Ok(Attempt::NoLocks)
            }
        }
    }
}

impl Drop for Hold {
    /// Whoever opened the file before and locks it from now on sees that it is no longer there.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

/// Whether the name still leads to the open file: the last holder may have removed it before this one had the lock.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (file.metadata(), path.symlink_metadata()) {
            (Ok(open), Ok(there)) => identity(open) == identity(there),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}
