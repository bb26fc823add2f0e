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
    /// its own.
    pub fn beside(target: &Path, mark: &[u8], force: bool) -> Result<Self> {
        inputs::check(target)?;
        Claim::clear_up(target)?;
        check_replaceable(target, mark, force)?;
        let claim = Claim::of(target)?;
        check_replaceable(target, mark, force)?;
        let file = claim.draft_file().map_err(FileError::write(target))?;
        Ok(Self { shown: target.into(), file, claim, mark: mark.into(), force })
    }

    /// The same, with `force`, for a file that several runs write: each waits for its turn.
    pub fn in_turn(target: &Path, mark: &[u8]) -> Result<Self> {
        for _ in 0..TURNS {
            match Self::beside(target, mark, true) {
                Err(Error::File(FileError::Busy { .. })) => std::thread::sleep(TURN),
                file => return file,
            }
        }
        Self::beside(target, mark, true)
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
        check_replaceable(&self.shown, &self.mark, self.force)?;
        self.claim.publish(self.force).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::ReportExists { path: self.shown }.into(),
            _ => not_published(&self.shown, source).into(),
        })
    }
}

/// Checks that nothing has the name of a file or, with `force`, that it is empty or begins with `mark`. Call it before
/// any work.
pub fn check_replaceable(path: &Path, mark: &[u8], force: bool) -> Result<()> {
    let target = resolve(path)?;
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(FileError::MountPoint { path: path.into() }.into());
    };
    let Ok(folder) = Folder::open(parent) else { return Ok(()) };
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
    if is_mount_point(&target) {
        return Err(FileError::MountPoint { path: path.into() }.into());
    }
    if beginning.is_empty() || beginning == mark {
        Ok(())
    } else {
        Err(FileError::NotAReport { path: path.into() }.into())
    }
}
