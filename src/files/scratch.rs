//! A temporary folder for intermediate results.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::lock::{FileLock, LockAttempt};
use crate::error::{FileError, Result};

const PREFIX: &str = "lora-slim-";

/// The subfolder of intermediate results. It is removed before the lock, so that a folder without a lock is empty.
const WORK: &str = "work";

/// A temporary folder that is removed with this value. The next run removes that of a killed one.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    work: PathBuf,
    /// Absent where the file system has no locks.
    lock: Option<FileLock>,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        let parent = env::temp_dir();
        Ok(Self::inside(&parent).map_err(FileError::write(&parent))?)
    }

    fn inside(parent: &Path) -> io::Result<Self> {
        clear_up_in(parent);
        loop {
            let folder = TempDir::with_prefix_in(PREFIX, parent)?;
            let lock = match FileLock::folder(folder.path(), true)? {
                LockAttempt::Acquired(lock) => Some(lock),
                LockAttempt::Unsupported => None,
                // Another run is clearing it up: it was not locked yet.
                LockAttempt::Taken | LockAttempt::Gone => continue,
            };
            let scratch = Self { work: folder.path().join(WORK), folder: folder.keep(), lock };
            fs::create_dir(&scratch.work)?;
            return Ok(scratch);
        }
    }

    pub fn path(&self) -> &Path {
        &self.work
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder, self.lock.take());
    }
}

fn remove(folder: &Path, lock: Option<FileLock>) {
    let _ = fs::remove_dir_all(folder.join(WORK));
    drop(lock);
    let _ = fs::remove_dir(folder);
}

/// Removes the temporary folders that killed runs left.
pub fn clear_up() {
    clear_up_in(&env::temp_dir());
}

/// Folders that cannot be removed belong to somebody else.
fn clear_up_in(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match FileLock::folder(&entry.path(), false) {
            Ok(LockAttempt::Acquired(lock)) => remove(&entry.path(), Some(lock)),
            // The run was killed before it locked the folder, or at its very end: the folder is empty, or this fails.
            Ok(LockAttempt::Gone) => _ = fs::remove_dir(entry.path()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_another_holds_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Scratch::inside(folder.path()).unwrap();
        let dead = folder.path().join("lora-slim-dead");
        fs::create_dir_all(dead.join("work/layers")).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::create_dir(folder.path().join("lora-slim-empty")).unwrap();
        fs::create_dir_all(folder.path().join("lora-slim-mine/thesis")).unwrap();
        let scratch = Scratch::inside(folder.path()).unwrap();
        let left = || fs::read_dir(folder.path()).unwrap().count();
        assert!(living.path().exists() && scratch.path().exists());
        assert!(folder.path().join("lora-slim-mine/thesis").exists());
        assert_eq!(left(), 3);
        drop((living, scratch));
        assert_eq!(left(), 1);
    }
}
