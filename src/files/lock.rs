//! Locks between processes.
//!
//! They are advisory locks on files, which the operating system releases with their process, however that ends. A file is
//! locked and not the handle of a folder, because folders cannot be locked over NFS or on Windows.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};

use super::folder::{Access, Folder};

/// The lock file of a folder that one process holds. It is the last file that is removed from the folder.
const FOLDER_LOCK: &str = "lock";

/// What the lock file of a folder holds. A folder whose lock file holds something else belongs to somebody else,
/// whatever its name is.
const MARK: &[u8] = b"lora-slim works in this folder, and removes it\n";

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    /// The folder whose lock file goes away with the lock.
    folder: Option<Folder>,
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
    /// What has the name of the lock file, or lies beside it, is somebody else's.
    NotOurs,
}

/// Who else may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    Exclusive,
    Shared,
}

impl FileLock {
    /// Locks a folder for this process alone. Without `create`, a folder without a lock file counts as gone.
    pub fn folder(folder: Folder, create: bool) -> io::Result<LockAttempt> {
        let name = OsStr::new(FOLDER_LOCK);
        let (file, is_new) = match folder.open_file(name, Access::Write) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => match folder.create(name) {
                Ok(file) => (file, true),
                Err(error) => return not_created(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockAttempt::Gone),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => {
                return Ok(LockAttempt::NotOurs);
            }
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) if folder.is_at(name, &file) => {}
            Ok(()) => return Ok(LockAttempt::Gone),
            Err(TryLockError::WouldBlock) => return Ok(LockAttempt::Taken),
            Err(TryLockError::Error(_)) => {
                if is_new {
                    let _ = folder.remove_file(name);
                }
                return Ok(LockAttempt::Unsupported);
            }
        }
        if is_marked(&folder, &file)? {
            return Ok(LockAttempt::Acquired(Self { file, folder: Some(folder) }));
        }
        if is_new {
            let _ = folder.remove_file(name);
        }
        Ok(LockAttempt::NotOurs)
    }

    /// Releases the lock of a folder that could not be cleared up. The lock file stays, so that the next run knows
    /// whose it is.
    pub fn leave_file(mut self) {
        self.folder = None;
    }

    /// Locks a file that stays where it is when the lock is released.
    pub fn lasting(folder: &Folder, name: &OsStr, mode: LockMode) -> io::Result<LockAttempt> {
        let file = folder.open_file(name, Access::Append)?;
        let locked = match mode {
            LockMode::Exclusive => file.try_lock(),
            LockMode::Shared => file.try_lock_shared(),
        };
        Ok(match locked {
            Ok(()) if folder.is_at(name, &file) => LockAttempt::Acquired(Self { file, folder: None }),
            Ok(()) => LockAttempt::Gone,
            Err(TryLockError::WouldBlock) => LockAttempt::Taken,
            Err(TryLockError::Error(_)) => LockAttempt::Unsupported,
        })
    }
}

/// Another process was faster, or has just removed the folder; or the file system refuses.
fn not_created(error: io::Error) -> io::Result<LockAttempt> {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Ok(LockAttempt::Gone),
        _ => Err(error),
    }
}

/// Whether the locked file of a folder has the mark. One that is empty gets it, if nothing else lies in the folder: it
/// is new, or its process was killed at once.
fn is_marked(folder: &Folder, mut file: &File) -> io::Result<bool> {
    let mut beginning = Vec::new();
    file.take(MARK.len() as u64 + 1).read_to_end(&mut beginning)?;
    if !beginning.is_empty() {
        return Ok(beginning == MARK);
    }
    if folder.names()? != [OsString::from(FOLDER_LOCK)] {
        return Ok(false);
    }
    file.write_all(MARK)?;
    Ok(true)
}

impl Drop for FileLock {
    /// A process that has opened a temporary file and locks it after this finds that it is no longer there.
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let name = OsStr::new(FOLDER_LOCK);
            if folder.is_at(name, &self.file) {
                let _ = folder.remove_file(name);
            }
        }
    }
}
