//! A temporary folder for intermediate results.
//!
//! The folder for such things is shared with other users. What is made there has a random name, is created exclusively
//! and can be used by its owner alone. What a killed run left is recognised by its owner, its mode and the mark in its
//! lock file, and not by its name.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::folder::{Folder, make_private};
use super::inputs;
use super::lock::{FileLock, LockAttempt};
use crate::error::{FileError, Result};

const PREFIX: &str = "lora-slim-";

/// The subfolder of intermediate results. It is removed before the lock, so that a folder without a lock is empty.
const WORK: &str = "work";

/// A temporary folder that is removed with this value. The next run removes that of a killed one.
#[derive(Debug)]
pub struct Scratch {
    parent: Folder,
    name: OsString,
    folder: Folder,
    work: Folder,
    /// Absent where the file system has no locks.
    lock: Option<FileLock>,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        let parent = env::temp_dir();
        Ok(Self::inside(&parent).map_err(FileError::write(&parent))?)
    }

    fn inside(parent: &Path) -> io::Result<Self> {
        let parent = Folder::open(&parent.canonicalize()?)?;
        clear_up_in(&parent);
        loop {
            let path = make_private(parent.path(), PREFIX)?;
            let name = path.file_name().unwrap_or_default().to_os_string();
            match Self::prepare(&parent, &name) {
                Ok(Some((folder, work, lock))) => {
                    inputs::declare_draft(folder.path());
                    return Ok(Self { work, parent, name, folder, lock });
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = parent.remove_empty(&name);
                    return Err(error);
                }
            }
        }
    }

    /// The new folder, the subfolder for the work, and the lock; `None` if another run has cleared it up, because it
    /// was not locked yet.
    fn prepare(parent: &Folder, name: &OsStr) -> io::Result<Option<(Folder, Folder, Option<FileLock>)>> {
        let folder = match parent.subfolder(name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let lock = match FileLock::folder(folder.try_clone()?, true)? {
            LockAttempt::Acquired(lock) => Some(lock),
            LockAttempt::Unsupported => None,
            LockAttempt::Taken | LockAttempt::Gone | LockAttempt::NotOurs => return Ok(None),
        };
        folder.make(OsStr::new(WORK))?;
        match folder.subfolder(OsStr::new(WORK)) {
            Ok(work) => Ok(Some((folder, work, lock))),
            Err(error) => {
                let _ = folder.remove_empty(OsStr::new(WORK));
                Err(error)
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// Makes a file of this name that has the bytes of another one: a link to it where there are links.
    pub fn link(&self, name: &str, target: &Path) -> Result<()> {
        let path = self.path().join(name);
        #[cfg(unix)]
        let made = std::os::unix::fs::symlink(target, &path);
        #[cfg(not(unix))]
        let made = std::fs::copy(target, &path).map(drop);
        Ok(made.map_err(FileError::write(&path))?)
    }

    /// The folder itself, whatever happens to its name.
    pub(super) fn folder(&self) -> io::Result<Folder> {
        self.work.try_clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        inputs::forget_draft(self.folder.path());
        let removed = self.folder.remove(OsStr::new(WORK));
        match self.lock.take() {
            Some(lock) if removed.is_err() => lock.leave_file(),
            lock => drop(lock),
        }
        let _ = self.parent.remove_empty(&self.name);
    }
}

/// Removes the temporary folders that killed runs left.
pub fn clear_up() {
    let parent = env::temp_dir().canonicalize().and_then(|path| Folder::open(&path));
    if let Ok(parent) = parent {
        clear_up_in(&parent);
    }
}

fn clear_up_in(parent: &Folder) {
    let names = parent.names().unwrap_or_default();
    for name in names.iter().filter(|name| name.to_string_lossy().starts_with(PREFIX)) {
        let _ = clear_up_one(parent, name);
    }
}

fn clear_up_one(parent: &Folder, name: &OsStr) -> io::Result<()> {
    let folder = parent.subfolder(name)?;
    if !folder.is_own() || !folder.is_marked() {
        return Ok(());
    }
    match FileLock::folder(folder.try_clone()?, false)? {
        LockAttempt::Acquired(lock) => {
            if let Err(error) = folder.remove(OsStr::new(WORK)) {
                lock.leave_file();
                return Err(error);
            }
            drop(lock);
            parent.remove_empty(name)
        }
        // The run was killed before it locked the folder, or at its very end: the folder is empty, or this fails.
        LockAttempt::Gone => parent.remove_empty(name),
        LockAttempt::Taken | LockAttempt::Unsupported | LockAttempt::NotOurs => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_another_holds_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Scratch::inside(folder.path()).unwrap();
        let mut dead = Scratch::inside(folder.path()).unwrap();
        fs::create_dir(dead.path().join("layers")).unwrap();
        let (dead_folder, lock) = (dead.folder.path().to_path_buf(), dead.lock.take());
        let lock_text = fs::read(dead_folder.join("lock")).unwrap();
        std::mem::forget(dead);
        drop(lock);
        fs::write(dead_folder.join("lock"), lock_text).unwrap();
        // Killed before it was locked, and just after.
        make_private(folder.path(), PREFIX).unwrap();
        fs::write(make_private(folder.path(), PREFIX).unwrap().join("lock"), "").unwrap();
        // Somebody else's, by owner, mode or mark.
        for mine in ["lora-slim-project/work", "lora-slim-empty", "lora-slim-AbCdEf/work/thesis"] {
            fs::create_dir_all(folder.path().join(mine)).unwrap();
        }
        fs::write(folder.path().join("lora-slim-project/lock"), "").unwrap();
        let marked = make_private(folder.path(), PREFIX).unwrap();
        fs::create_dir(marked.join("work")).unwrap();
        fs::write(marked.join("lock"), "my lock").unwrap();
        let scratch = Scratch::inside(folder.path()).unwrap();
        let left = || fs::read_dir(folder.path()).unwrap().count();
        assert!(living.path().exists() && scratch.path().exists() && marked.join("work").exists());
        assert!(folder.path().join("lora-slim-AbCdEf/work/thesis").exists());
        assert_eq!(left(), 6);
        drop((living, scratch));
        assert_eq!(left(), 4);
    }
}
