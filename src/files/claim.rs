//! The folder `.lora-slim-NAME` beside a target, in which one process at a time makes that target.
//!
//! ```text
//! .lora-slim-NAME/lock    locked while a process works here, with a mark (lock.rs)
//! .lora-slim-NAME/new     the draft, which is renamed to the target when it is complete
//! .lora-slim-NAME/old     the replaced target, between the two renames where the system cannot exchange names
//! .lora-slim-NAME/copy    a copy of it, where it cannot be renamed either; `half-copy` until it is complete
//! ```
//! The folder's name follows from the target's, so that the next run finds what a killed one left: it removes `new`,
//! and puts `old` or `copy` back if the new target is not there yet, or else removes them. It does so in a folder that
//! is the user's own and has our mark in it, and relative to the open folder; nothing else is ever touched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::folder::{Folder, make_private};
use super::lock::{FileLock, LockAttempt};
use super::paths::{is_taken, resolve};
use super::{hex, inputs};
use crate::error::{Error, FileError, Result};

const PREFIX: &str = ".lora-slim-";
const NEW: &str = "new";
const OLD: &str = "old";
const COPY: &str = "copy";
const HALF_COPY: &str = "half-copy";

/// The longest name that common file systems allow, in bytes.
const LONGEST_NAME: usize = 255;

/// Attempts to take a folder that other processes keep removing. After this many they are long done.
const ATTEMPTS: usize = 1000;

/// The exclusive right to make a target. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Claim {
    target: PathBuf,
    /// The last part of the target.
    name: OsString,
    parent: Folder,
    folder: Folder,
    /// Absent where the file system has no locks, or the folder's name is somebody else's; the folder then has a random
    /// name.
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
        inputs::check(shown)?;
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
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(FileError::MountPoint { path: shown.into() }.into());
        };
        let parents = Parents::make(parent).map_err(FileError::write(parent))?;
        let opened = Folder::open(parent).map_err(FileError::write(parent))?;
        let mut claim = Self::inside(opened, name).map_err(|error| match error {
            Error::File(FileError::Busy { .. }) => FileError::Busy { path: shown.into() }.into(),
            error => error,
        })?;
        claim.parents = parents;
        Ok(claim)
    }

    /// The right to make something of this name in a folder, whatever may happen to the folder's own name meanwhile.
    pub fn inside(parent: Folder, name: &OsStr) -> Result<Self> {
        let target = parent.path().join(name);
        let (folder, lock) = match lock(&parent, &target)? {
            Some((folder, lock)) => (folder, Some(lock)),
            None => {
                let failed = || FileError::write(parent.path());
                let own = make_private(parent.path(), PREFIX).map_err(failed())?;
                let opened = Folder::open(&own).inspect_err(|_| _ = std::fs::remove_dir(&own));
                (opened.map_err(failed())?, None)
            }
        };
        inputs::declare_draft(folder.path());
        let claim = Self { folder, parent, name: name.into(), target, lock, parents: Parents(Vec::new()) };
        claim.clear().map_err(FileError::write(&claim.target))?;
        Ok(claim)
    }

    /// The folder that the target lies in.
    pub fn parent(&self) -> &Folder {
        &self.parent
    }

    /// The target's absolute path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the folder that becomes the target.
    pub fn draft_folder(&self) -> io::Result<Folder> {
        self.folder.make(NEW.as_ref())?;
        self.folder.subfolder(NEW.as_ref())
    }

    /// Creates the file that becomes the target.
    pub fn draft_file(&self) -> io::Result<std::fs::File> {
        self.folder.create(NEW.as_ref())
    }

    /// Renames the draft to the target. With `replace`, whatever exists there is removed once it is replaced.
    pub fn publish(&self, replace: bool) -> io::Result<()> {
        if replace && self.parent.has(&self.name) {
            self.replace()?;
        } else {
            self.put(NEW)?;
        }
        self.parent.sync()?;
        let mut above = self.parents.0.iter().filter_map(|made| made.parent());
        above.try_for_each(super::sync_folder)
    }

    fn replace(&self) -> io::Result<()> {
        if let Some(done) = self.folder.exchange(NEW.as_ref(), &self.parent, &self.name) {
            return done;
        }
        // After a kill between these two, `clear` renames the old target back in the next run.
        match self.parent.rename(&self.name, &self.folder, OLD.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.set_aside_by_copy()?,
            done => done?,
        }
        self.folder.rename(NEW.as_ref(), &self.parent, &self.name)
    }

    /// Sets the old target aside where it can be removed and not renamed: the folders of a lower layer of overlayfs.
    fn set_aside_by_copy(&self) -> io::Result<()> {
        self.folder.make(HALF_COPY.as_ref())?;
        self.parent.subfolder(&self.name)?.copy_into(&self.folder.subfolder(HALF_COPY.as_ref())?)?;
        self.folder.rename(HALF_COPY.as_ref(), &self.folder, COPY.as_ref())?;
        self.folder.sync()?;
        self.parent.remove(&self.name)
    }

    /// Gives something of the folder the name of the target, which must be free.
    fn put(&self, what: &str) -> io::Result<()> {
        if let Some(done) = self.folder.rename_to_free(what.as_ref(), &self.parent, &self.name) {
            return done;
        }
        if self.parent.has(&self.name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.folder.rename(what.as_ref(), &self.parent, &self.name)
    }

    /// Removes what a run left, and puts back what it had set aside.
    fn clear(&self) -> io::Result<()> {
        let has = |name: &str| self.folder.has(name.as_ref());
        // Killed while it removed what it had copied: the draft is still here, and the target is a rest of the copy.
        if has(COPY) && has(NEW) && self.is_rest_of_copy()? {
            self.parent.remove(&self.name)?;
            self.put(COPY)?;
        }
        if has(OLD) && !self.parent.has(&self.name) {
            self.put(OLD)?;
        }
        [COPY, HALF_COPY, OLD, NEW].iter().try_for_each(|name| self.folder.remove(name.as_ref()))
    }

    /// Whether the target holds nothing that the copy does not.
    fn is_rest_of_copy(&self) -> io::Result<bool> {
        match self.parent.subfolder(&self.name) {
            Ok(target) => is_part_of(&target, &self.folder.subfolder(COPY.as_ref())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(_) => Ok(false),
        }
    }
}

/// Whether all files of a folder are also in another one, with the same sizes.
fn is_part_of(one: &Folder, whole: &Folder) -> io::Result<bool> {
    for name in one.names()? {
        let is_part = match (one.subfolder(&name), whole.subfolder(&name)) {
            (Ok(inner), Ok(whole)) => is_part_of(&inner, &whole)?,
            _ => whole.has(&name) && one.size(&name) == whole.size(&name),
        };
        if !is_part {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let cleared = self.clear();
        inputs::forget_draft(self.folder.path());
        match self.lock.take() {
            Some(lock) if cleared.is_err() => lock.leave_file(),
            lock => drop(lock),
        }
        if let Some(name) = self.folder.path().file_name() {
            let _ = self.parent.remove_empty(name);
        }
    }
}

impl Parents {
    fn make(parent: &Path) -> io::Result<Self> {
        let made = parent.ancestors().take_while(|folder| !folder.exists()).map(PathBuf::from).collect();
        std::fs::create_dir_all(parent)?;
        Ok(Self(made))
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        let _ = self.0.iter().try_for_each(std::fs::remove_dir);
    }
}

/// Creates and locks the folder beside a target; `None` where the file system has no locks, or where what has the
/// folder's name is not ours: a link, another user's, or a folder without our mark.
fn lock(parent: &Folder, target: &Path) -> Result<Option<(Folder, FileLock)>> {
    let name = name_beside(target);
    let failed = || FileError::write(parent.path());
    for _ in 0..ATTEMPTS {
        match parent.make_own(&name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error).into()),
            _ => {}
        }
        let folder = match parent.subfolder(&name) {
            Ok(folder) => folder,
            // Its last holder has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if is_refused(&error) => return Ok(None),
            Err(error) => return Err(failed()(error).into()),
        };
        if !folder.is_own() {
            return Ok(None);
        }
        let again = folder.try_clone().map_err(failed())?;
        match FileLock::folder(again, true).map_err(failed())? {
            LockAttempt::Acquired(lock) if parent.is_folder_at(&name, &folder) => return Ok(Some((folder, lock))),
            LockAttempt::Taken => return Err(FileError::Busy { path: target.into() }.into()),
            LockAttempt::NotOurs => return Ok(None),
            LockAttempt::Unsupported => {
                let _ = parent.remove_empty(&name);
                return Ok(None);
            }
            LockAttempt::Acquired(_) | LockAttempt::Gone => std::thread::yield_now(),
        }
    }
    Err(FileError::Busy { path: target.into() }.into())
}

/// Whether something is a link, a file, or a folder that this user may not look into.
fn is_refused(error: &io::Error) -> bool {
    let is_other = matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied);
    is_other || error.raw_os_error() == Some(libc::ELOOP)
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
    use std::fs;

    use super::*;

    #[test]
    fn the_folder_follows_from_the_target() {
        let beside = |name: &str| name_beside(&Path::new("/x").join(name)).into_string().unwrap();
        assert_eq!(beside("my out"), ".lora-slim-my out");
        let (long, other) = (beside(&"a".repeat(255)), beside(&"b".repeat(255)));
        assert!(long.len() < 30 && long != other);
        assert_eq!(beside(&"a".repeat(244)).len(), 255);
    }

    /// A target that cannot be renamed: killed while it is removed, and afterwards.
    #[test]
    fn a_target_that_was_copied_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let names = || fs::read_dir(&target).unwrap().count();
        for is_begun in [false, true] {
            write("out/a/one", "old");
            write("out/two", "old");
            let claim = Claim::of(&target).unwrap();
            claim.draft_folder().unwrap();
            claim.set_aside_by_copy().unwrap();
            assert!(!target.exists());
            if is_begun {
                write("out/two", "old");
            }
            drop(claim);
            assert_eq!((names(), fs::read(target.join("a/one")).unwrap().as_slice()), (2, &b"old"[..]));
        }
        // Somebody has put something else there since.
        let claim = Claim::of(&target).unwrap();
        claim.draft_folder().unwrap();
        claim.set_aside_by_copy().unwrap();
        write("out/thesis", "mine");
        drop(claim);
        assert_eq!(names(), 1);
        // The new one is there.
        let claim = Claim::of(&target).unwrap();
        claim.draft_folder().unwrap();
        claim.set_aside_by_copy().unwrap();
        claim.put(NEW).unwrap();
        drop(claim);
        assert_eq!((names(), fs::read_dir(folder.path()).unwrap().count()), (0, 1));
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
                    claim.draft_folder().unwrap();
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
