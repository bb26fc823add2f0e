//! A file that appears at its place complete or not at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::claim::Claim;
use super::paths::is_taken;
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
        Claim::clear_up(target)?;
        check_replaceable(target, mark, force)?;
        let claim = Claim::of(target)?;
        check_replaceable(target, mark, force)?;
        let file = File::create_new(claim.draft()).map_err(FileError::write(target))?;
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
        check_replaceable(&self.shown, &self.mark, self.force)?;
        self.claim.publish(self.force).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::ReportExists { path: self.shown }.into(),
            _ => FileError::Write { path: self.shown, source }.into(),
        })
    }
}

fn check_replaceable(path: &Path, mark: &[u8], force: bool) -> Result<()> {
    if !is_taken(path) {
        return Ok(());
    }
    if !force {
        return Err(FileError::ReportExists { path: path.into() }.into());
    }
    let mut beginning = Vec::new();
    let read = path
        .is_file()
        .then(|| File::options().read(true).open(path)?.take(mark.len() as u64).read_to_end(&mut beginning));
    match read.transpose().map_err(FileError::read(path))? {
        Some(_) if beginning.is_empty() || beginning == mark => Ok(()),
        _ => Err(FileError::NotAReport { path: path.into() }.into()),
    }
}
