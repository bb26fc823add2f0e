//! The place beside a target in which it is made: a folder `.lora-slim-NAME` that one process holds.
//!
//! ```text
//! .lora-slim-NAME/lock    held while a process works here (hold.rs)
//! .lora-slim-NAME/new     what is made; it gets the target's name when it is whole
//! .lora-slim-NAME/old     what stood at the target, between the two renames where the system cannot exchange names
//! ```
//! Its name follows from the target's, so that the next run finds what a killed one left: `new` is removed; `old` gets its
//! name back if the target is absent, and is removed if it is there. Nothing else is ever touched.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::hold::{Attempt, Hold};
use super::moves::{exchange, move_to_free, remove};
use super::output::{is_taken, resolve};
use super::{hex, sync_folder};
use crate::error::{Error, FileError, Result};

const PREFIX: &str = ".lora-slim-";

/// The longest name that common file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// Attempts at a folder that vanishes again and again; another process that does so has long gone after this many.
const ATTEMPTS: usize = 1000;

/// The right to make what will stand at a target. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Claim {
    target: PathBuf,
    folder: PathBuf,
    /// Absent where the file system has no locks; the folder then has a name of its own.
    hold: Option<Hold>,
    parents: Parents,
}

/// The folders above the target that were made for it, the lowest first. Dropped, they go away again, as far as they are empty.
#[derive(Debug)]
struct Parents(Vec<PathBuf>);

impl Claim {
    /// Clears up after a run that was killed, if one was; an error if one is at work.
    pub fn clear_up(shown: &Path) -> Result<()> {
        let target = resolve(shown)?;
        // Nothing is touched where nothing is left.
        if is_taken(&target.with_file_name(name_beside(&target))) { Self::of(shown).map(drop) } else { Ok(()) }
    }

    pub fn of(shown: &Path) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            match Self::attempt(shown) {
                // Another run that needs the same folders has just taken away those that it made.
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
        // A name that the file system refuses should not be found out at the end.
        match target.symlink_metadata() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::write(shown)(error).into()),
            _ => {}
        }
        let parent = target.parent().unwrap_or(Path::new("/"));
        let parents = Parents::make(parent).map_err(FileError::write(parent))?;
        let folder = parent.join(name_beside(&target));
        let Some(hold) = hold(&folder, shown)? else {
            let own = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(FileError::write(parent))?;
            return Ok(Self { folder: own.keep(), target, hold: None, parents });
        };
        let claim = Self { folder, target, hold: Some(hold), parents };
        claim.clear().map_err(FileError::write(shown))?;
        Ok(claim)
    }

    /// Where the target will stand, as an absolute path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where the new one is made.
    pub fn made(&self) -> PathBuf {
        self.folder.join("new")
    }

    fn old(&self) -> PathBuf {
        self.folder.join("old")
    }

    /// Gives the new one its place. With `replace`, what stands there goes away once it is replaced.
    pub fn publish(&self, replace: bool) -> io::Result<()> {
        if replace && is_taken(&self.target) {
            self.replace()?;
        } else {
            move_to_free(&self.made(), &self.target)?;
        }
        let mut above = self.parents.0.iter().chain([&self.target]).filter_map(|made| made.parent());
        above.try_for_each(sync_folder)
    }

    fn replace(&self) -> io::Result<()> {
        if let Some(done) = exchange(&self.made(), &self.target) {
            return done;
        }
        // Killed between these two, the old one gets its place back by `clear`, now or in the next run.
        fs::rename(&self.target, self.old())?;
        fs::rename(self.made(), &self.target)
    }

    /// Removes what is left of a run, and puts back what it had set aside.
    fn clear(&self) -> io::Result<()> {
        if is_taken(&self.old()) && !is_taken(&self.target) {
            fs::rename(self.old(), &self.target)?;
        }
        remove(&self.old())?;
        remove(&self.made())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = self.clear();
        self.hold = None;
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

/// Makes and holds a folder; `None` where the file system has no locks.
fn hold(folder: &Path, target: &Path) -> Result<Option<Hold>> {
    let failed = || FileError::write(folder);
    for _ in 0..ATTEMPTS {
        match private().create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error).into()),
            _ => {}
        }
        match folder.symlink_metadata() {
            // Not followed: what it leads to is not ours.
            Ok(metadata) if !metadata.is_dir() => {
                return Err(failed()(io::ErrorKind::NotADirectory.into()).into());
            }
            _ => {}
        }
        match Hold::attempt(folder, true).map_err(failed())? {
            Attempt::Held(hold) => return Ok(Some(hold)),
            Attempt::Taken => return Err(FileError::Busy { path: target.into() }.into()),
            Attempt::NoLocks => {
                let _ = fs::remove_dir(folder);
                return Ok(None);
            }
            Attempt::Gone => std::thread::yield_now(),
        }
    }
    Err(FileError::Busy { path: target.into() }.into())
}

/// Folders that only the user may look into.
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
    fn the_place_follows_from_the_target() {
        let beside = |name: &str| name_beside(&Path::new("/x").join(name)).into_string().unwrap();
        assert_eq!(beside("my out"), ".lora-slim-my out");
        let (long, other) = (beside(&"a".repeat(255)), beside(&"b".repeat(255)));
        assert!(long.len() < 30 && long != other);
        assert_eq!(beside(&"a".repeat(244)).len(), 255);
    }

    #[test]
    fn one_process_holds_a_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/er/out");
        let claim = Claim::of(&target).unwrap();
        assert!(matches!(Claim::of(&target), Err(crate::Error::File(FileError::Busy { .. }))));
        drop(claim);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(Claim::of(&target).unwrap());
    }

    /// Many threads that take and let go: never two at once, and nothing is left.
    #[test]
    fn a_place_that_is_left_is_taken_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        let held: usize = std::thread::scope(|scope| {
            let work = || {
                let claims = (0..200).filter_map(|_| {
                    let claim = Claim::of(&target).ok()?;
                    assert_eq!(inside.fetch_add(1, order), 0);
                    fs::create_dir(claim.made()).unwrap();
                    inside.fetch_sub(1, order);
                    Some(claim)
                });
                claims.map(drop).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(held > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
