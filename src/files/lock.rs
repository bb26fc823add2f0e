//! Locks between processes.
//!
//! They are advisory locks on files, which the operating system releases with their process, however that ends. A file is
//! locked and not the handle of a folder, because folders cannot be locked over NFS or on Windows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The lock file of a folder that one process holds. It is the last file that is removed from the folder.
const FOLDER_LOCK: &str = "lock";

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    /// Whether the lock file goes away with the lock.
    is_temporary: bool,
    _file: File,
}

/// The result of an attempt to take a lock. No attempt waits.
pub enum LockAttempt {
    Acquired(FileLock),
    /// Another process holds the lock.
    Taken,
    /// The lock file is not there, or its last holder removed it at this moment.
    Gone,
    /// The file system has no locks.
    Unsupported,
}

/// Who else may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    Exclusive,
    Shared,
}

impl FileLock {
    /// Locks an existing folder for this process alone. Without `create`, a folder without a lock file counts as gone.
    pub fn folder(folder: &Path, create: bool) -> io::Result<LockAttempt> {
        Self::attempt(folder.join(FOLDER_LOCK), create, LockMode::Exclusive, true)
    }

    /// Locks a file that stays where it is when the lock is released.
    pub fn lasting(path: PathBuf, mode: LockMode) -> io::Result<LockAttempt> {
        Self::attempt(path, true, mode, false)
    }

    fn attempt(path: PathBuf, create: bool, mode: LockMode, is_temporary: bool) -> io::Result<LockAttempt> {
        let file = match OpenOptions::new().write(true).create(create).truncate(false).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockAttempt::Gone),
            file => file?,
        };
        let locked = match mode {
            LockMode::Exclusive => file.try_lock(),
            LockMode::Shared => file.try_lock_shared(),
        };
        Ok(match locked {
            Ok(()) if is_at(&file, &path) => LockAttempt::Acquired(Self { path, is_temporary, _file: file }),
            Ok(()) => LockAttempt::Gone,
            Err(TryLockError::WouldBlock) => LockAttempt::Taken,
            Err(TryLockError::Error(_)) => {
                if is_temporary {
                    let _ = fs::remove_file(&path);
                }
                LockAttempt::Unsupported
            }
        })
    }
}

impl Drop for FileLock {
    /// A process that has opened a temporary file and locks it after this finds that it is no longer there.
    fn drop(&mut self) {
        if self.is_temporary {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the path still leads to the open file: the last holder may have removed it before this one took the lock.
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
