//! A file that appears at its place complete or not at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::claim::Claim;
use super::folder::{Access, Folder, is_mount_point};
use super::inputs;
use super::output::not_published;
use super::paths::resolve;
use crate::error::{Error, FileError, Result};

/// How often and how long one run waits for another. No file takes that long to write.
const TURNS: usize = 500;
const TURN: Duration = Duration::from_millis(20);

/// A file in preparation, beside its place. Created before a long run, it shows that the place can be written; dropped before
/// [`publish`](Self::publish), it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    /// The target as the user wrote it.
    shown: PathBuf,
    file: File,
    claim: Claim,
    mark: Vec<u8>,
    force: bool,
}

impl NewFile {
    /// With `force`, a file at `target` is replaced if it is empty or begins with `mark`, by which this program recognises
    /// its own. A link is followed.
    pub fn beside(target: &Path, mark: &[u8], force: bool) -> Result<Self> {
        inputs::check(target)?;
        Claim::clear_up(target)?;
        check_replaceable(target, mark, force)?;
        Self::of(Claim::of(target)?, target, mark, force)
    }

    /// The same, with `force`, for a file of `folder`, whatever happens to the names above. A link in its place is refused.
    pub fn inside(folder: &Folder, shown: &Path, mark: &[u8]) -> Result<Self> {
        inputs::check(shown)?;
        let name = shown.file_name().unwrap_or_default();
        let folder = folder.try_clone().map_err(FileError::write(shown))?;
        Self::of(Claim::inside(folder, name)?, shown, mark, true)
    }

    /// The same for a file that several runs write: each waits for its turn.
    pub fn in_turn(folder: &Folder, shown: &Path, mark: &[u8]) -> Result<Self> {
        for _ in 0..TURNS {
            match Self::inside(folder, shown, mark) {
                Err(Error::File(FileError::Busy { .. })) => std::thread::sleep(TURN),
                file => return file,
            }
        }
        Self::inside(folder, shown, mark)
    }

    fn of(claim: Claim, shown: &Path, mark: &[u8], force: bool) -> Result<Self> {
        check_in(claim.parent(), claim.target(), mark, force).map_err(|error| of_path(error, shown))?;
        let file = claim.draft_file().map_err(FileError::write(shown))?;
        Ok(Self { shown: shown.into(), file, claim, mark: mark.into(), force })
    }

    pub fn target(&self) -> &Path {
        self.claim.target()
    }

    /// Writes the content, syncs it to disk and moves the file to its place.
    pub fn publish(mut self, content: &[u8]) -> Result<()> {
        let written = self.file.write_all(content).and_then(|()| self.file.sync_all());
        written.map_err(FileError::write(&self.shown))?;
        // Some inputs are known only now.
        inputs::check(self.claim.target())?;
        check_in(self.claim.parent(), self.claim.target(), &self.mark, self.force)
            .map_err(|error| of_path(error, &self.shown))?;
        self.claim.publish(self.force).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::ReportExists { path: self.shown }.into(),
            _ => not_published(&self.shown, source).into(),
        })
    }
}

/// Checks that nothing has the name of a file or, with `force`, that it is empty or begins with `mark`. A link is
/// followed. Call it before any work.
pub fn check_replaceable(path: &Path, mark: &[u8], force: bool) -> Result<()> {
    let target = resolve(path)?;
    let Some(parent) = target.parent() else { return Err(FileError::MountPoint { path: path.into() }.into()) };
    match Folder::open(parent) {
        Ok(folder) => check_in(&folder, &target, mark, force).map_err(|error| of_path(error, path)),
        Err(_) => Ok(()),
    }
}

/// The same error about the path as the user wrote it.
fn of_path(error: Error, path: &Path) -> Error {
    let path = path.into();
    match error {
        Error::File(FileError::ReportExists { .. }) => FileError::ReportExists { path }.into(),
        Error::File(FileError::NotAReport { .. }) => FileError::NotAReport { path }.into(),
        Error::File(FileError::MountPoint { .. }) => FileError::MountPoint { path }.into(),
        Error::File(FileError::Read { source, .. }) => FileError::Read { path, source }.into(),
        error => error,
    }
}

/// The same for the name of a path in an open folder; a link is no file that may be replaced.
fn check_in(folder: &Folder, path: &Path, mark: &[u8], force: bool) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    if !folder.has(name) {
        return Ok(());
    }
    if !force {
        return Err(FileError::ReportExists { path: path.into() }.into());
    }
    let mut beginning = Vec::new();
    match folder.open_file(name, Access::Read) {
        Ok(file) => file.take(mark.len() as u64).read_to_end(&mut beginning).map_err(FileError::read(path))?,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(FileError::NotAReport { path: path.into() }.into());
        }
        Err(error) => return Err(FileError::read(path)(error).into()),
    };
    if is_mount_point(&folder.path().join(name)) {
        return Err(FileError::MountPoint { path: path.into() }.into());
    }
    if beginning.is_empty() || beginning == mark {
        Ok(())
    } else {
        Err(FileError::NotAReport { path: path.into() }.into())
    }
}
