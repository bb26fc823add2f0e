//! The folder `.lora-slim-NAME` beside a target, in which one process at a time makes that target.
//!
//! ```text
//! .lora-slim-NAME/lock    locked while a process works here (lock.rs)
//! .lora-slim-NAME/new     the draft, which is renamed to the target when it is complete
//! .lora-slim-NAME/old     the replaced target, between the two renames where the system cannot exchange names
//! ```
//! The folder's name follows from the target's, so that the next run finds what a killed one left: it removes `new`, and
//! renames `old` back if the target is absent or else removes it. Nothing else is ever touched.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::lock::{FileLock, LockAttempt};
use super::moves::{exchange, move_to_free, remove};
use super::paths::{is_taken, resolve};
use super::{hex, sync_folder};
use crate::error::{Error, FileError, Result};

const PREFIX: &str = ".lora-slim-";

/// The longest name that common file systems allow, in bytes.
const LONGEST_NAME: usize = 255;

/// Attempts to take a folder that other processes keep removing. After this many they are long done.
const ATTEMPTS: usize = 1000;

/// The exclusive right to make a target. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Claim {
    target: PathBuf,
    folder: PathBuf,
    /// Absent where the file system has no locks; the folder then has a random name.
    lock: Option<FileLock>,
    parents: Parents,
}

/// The folders above the target that were created for it, the lowest first. Dropped, it removes those that are empty.
#[derive(Debug)]
struct Parents(Vec<PathBuf>);

impl Claim {
    /// Clears up after a killed run, if there was one. An error if another run is working there.
    pub fn clear_up(shown: &Path) -> Result<()> {
        let target = resolve(shown)?;
        // Touch nothing where nothing was left.
        if is_taken(&target.with_file_name(name_beside(&target))) { Self::of(shown).map(drop) } else { Ok(()) }
    }

    pub fn of(shown: &Path) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            match Self::attempt(shown) {
                // Another run that needs the same folders has just removed those that it created.
                Err(Error::File(FileError::Write { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                    std::thread::yield_now();
                }
                claim => return claim,
            }
        }
        Self::attempt(shown)
    }

    fn attempt(shown: &Path) -> Result<Self> {
        let target = resolve(shown)?;
        // Find out now whether the file system refuses the name.
        match target.symlink_metadata() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::write(shown)(error).into()),
            _ => {}
        }
        let parent = target.parent().unwrap_or(Path::new("/"));
        let parents = Parents::make(parent).map_err(FileError::write(parent))?;
        let folder = parent.join(name_beside(&target));
        let Some(lock) = lock(&folder, shown)? else {
            let own = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(FileError::write(parent))?;
            return Ok(Self { folder: own.keep(), target, lock: None, parents });
        };
        let claim = Self { folder, target, lock: Some(lock), parents };
        claim.clear().map_err(FileError::write(shown))?;
        Ok(claim)
    }

    /// The target's absolute path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where the target is made.
    pub fn draft(&self) -> PathBuf {
        self.folder.join("new")
    }

    fn old(&self) -> PathBuf {
        self.folder.join("old")
    }

    /// Renames the draft to the target. With `replace`, whatever exists there is removed once it is replaced.
    pub fn publish(&self, replace: bool) -> io::Result<()> {
        if replace && is_taken(&self.target) {
            self.replace()?;
        } else {
            move_to_free(&self.draft(), &self.target)?;
        }
        let mut above = self.parents.0.iter().chain([&self.target]).filter_map(|made| made.parent());
        above.try_for_each(sync_folder)
    }

    fn replace(&self) -> io::Result<()> {
        if let Some(done) = exchange(&self.draft(), &self.target) {
            return done;
        }
        // After a kill between these two, `clear` renames the old target back in the next run.
        fs::rename(&self.target, self.old())?;
        fs::rename(self.draft(), &self.target)
    }

    /// Removes what a run left, and puts back what it had set aside.
    fn clear(&self) -> io::Result<()> {
        if is_taken(&self.old()) && !is_taken(&self.target) {
            fs::rename(self.old(), &self.target)?;
        }
        remove(&self.old())?;
        remove(&self.draft())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = self.clear();
        self.lock = None;
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Parents {
    fn make(parent: &Path) -> io::Result<Self> {
        let made = parent.ancestors().take_while(|folder| !folder.exists()).map(PathBuf::from).collect();
        fs::create_dir_all(parent)?;
        Ok(Self(made))
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        let _ = self.0.iter().try_for_each(fs::remove_dir);
    }
}

/// Creates and locks a folder; `None` where the file system has no locks.
fn lock(folder: &Path, target: &Path) -> Result<Option<FileLock>> {
    let failed = || FileError::write(folder);
    for _ in 0..ATTEMPTS {
        match private().create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error).into()),
            _ => {}
        }
        match folder.symlink_metadata() {
            // A link is not followed, because what it leads to is not ours.
            Ok(metadata) if !metadata.is_dir() => {
                return Err(failed()(io::ErrorKind::NotADirectory.into()).into());
            }
            _ => {}
        }
        match FileLock::folder(folder, true).map_err(failed())? {
            LockAttempt::Acquired(lock) => return Ok(Some(lock)),
            LockAttempt::Taken => return Err(FileError::Busy { path: target.into() }.into()),
            LockAttempt::Unsupported => {
                let _ = fs::remove_dir(folder);
                return Ok(None);
            }
            LockAttempt::Gone => std::thread::yield_now(),
        }
    }
    Err(FileError::Busy { path: target.into() }.into())
}

/// Creates folders that only the user may read.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(false);
    builder
}

/// `.lora-slim-NAME`, or a hash of the name where that would be too long.
fn name_beside(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or(OsStr::new("root"));
    let mut beside = OsString::from(PREFIX);
    if PREFIX.len() + name.len() <= LONGEST_NAME {
        beside.push(name);
    } else {
        beside.push(&hex(&Sha256::digest(name.as_encoded_bytes()))[..16]);
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_from_the_target() {
        let beside = |name: &str| name_beside(&Path::new("/x").join(name)).into_string().unwrap();
        assert_eq!(beside("my out"), ".lora-slim-my out");
        let (long, other) = (beside(&"a".repeat(255)), beside(&"b".repeat(255)));
        assert!(long.len() < 30 && long != other);
        assert_eq!(beside(&"a".repeat(244)).len(), 255);
    }

    #[test]
    fn one_process_claims_a_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/er/out");
        let claim = Claim::of(&target).unwrap();
        assert!(matches!(Claim::of(&target), Err(crate::Error::File(FileError::Busy { .. }))));
        drop(claim);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(Claim::of(&target).unwrap());
    }

    /// Many threads claim and release one target: never two at once, and nothing is left.
    #[test]
    fn a_released_target_goes_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        let claimed: usize = std::thread::scope(|scope| {
            let work = || {
                let claims = (0..200).filter_map(|_| {
                    let claim = Claim::of(&target).ok()?;
                    assert_eq!(inside.fetch_add(1, order), 0);
                    fs::create_dir(claim.draft()).unwrap();
                    inside.fetch_sub(1, order);
                    Some(claim)
                });
                claims.map(drop).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(claimed > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
