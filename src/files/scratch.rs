//! A temporary folder, for what is made on the way to an output.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::hold::{Attempt, Hold};
use crate::error::{FileError, Result};

const PREFIX: &str = "lora-slim-";

/// What is made in a temporary folder. It goes first when the folder does, so that a folder without its lock is empty.
const WORK: &str = "work";

/// A temporary folder that goes away with this value. A killed run cannot remove its own; the next one does.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    work: PathBuf,
    /// Absent where the file system has no locks.
    hold: Option<Hold>,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        let parent = env::temp_dir();
        Ok(Self::inside(&parent).map_err(FileError::write(&parent))?)
    }

    fn inside(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        loop {
            let folder = TempDir::with_prefix_in(PREFIX, parent)?;
            let hold = match Hold::attempt(folder.path(), true)? {
                Attempt::Held(hold) => Some(hold),
                Attempt::NoLocks => None,
                // Another run took it for a dead one's: it was not held yet.
                Attempt::Taken | Attempt::Gone => continue,
            };
            let scratch = Self { work: folder.path().join(WORK), folder: folder.keep(), hold };
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
        remove(&self.folder, self.hold.take());
    }
}

fn remove(folder: &Path, hold: Option<Hold>) {
    let _ = fs::remove_dir_all(folder.join(WORK));
    drop(hold);
    let _ = fs::remove_dir(folder);
}

/// Removes the temporary folders that killed runs left.
pub fn clear_up() {
    sweep(&env::temp_dir());
}

/// What cannot be removed is somebody else's.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match Hold::attempt(&entry.path(), false) {
            Ok(Attempt::Held(hold)) => remove(&entry.path(), Some(hold)),
            // Killed before the folder was held, or at its very end: it is empty, or this fails.
            Ok(Attempt::Gone) => _ = fs::remove_dir(entry.path()),
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
