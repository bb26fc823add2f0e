//! Weight files, memory-mapped as a rule.
//!
//! # What is assumed
//! A mapped file must not be changed or truncated by another process while it is read: Rust's `&[u8]` promises bytes
//! that do not change, and the operating system cannot keep that promise for a shared file. Finished adapters and
//! models are not rewritten in place by the tools that make them, which is what this program relies on. Where they are all the
//! same, nothing worse than wrong numbers can come of it: headers are copied before they are parsed, sizes are taken from them
//! once, a file that shrinks ends the program with a word (`fault.rs`), and before anything is published it is seen whether the
//! files are still the same.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use super::fault::Watch;
use crate::error::{FileError, Result};

/// The bytes of a whole file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    content: Content,
    opened: State,
}

/// What tells whether a file is the same and has not been written to.
#[derive(Debug, PartialEq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

#[derive(Debug)]
enum Content {
    Mapped(Mmap, #[allow(dead_code, reason = "it works by being there")] Watch),
    /// What a file was translated to.
    Owned(Vec<u8>),
}

impl WeightFile {
    /// Maps a file read-only.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(FileError::read(path))?;
        let opened = State::of(&file.metadata().map_err(FileError::read(path))?);
        // SAFETY: the module's contract, above: the file is not changed while it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(FileError::read(path))?;
        let watch = Watch::over(&map, path);
        crate::files::refuse_lfs_pointer(path, &map)?;
        Ok(Self { path: path.into(), content: Content::Mapped(map, watch), opened })
    }

    /// The same file with the bytes that it was translated to.
    pub fn translated(self, bytes: Vec<u8>) -> Self {
        Self { content: Content::Owned(bytes), ..self }
    }

    /// Whether the file is still the one that was opened, and as it was.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.path.metadata().map_err(FileError::read(&self.path))?;
        if State::of(&now) == self.opened { Ok(()) } else { Err(FileError::Changed { path: self.path.clone() }.into()) }
    }

    /// Whether the bytes are those of the file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.content, Content::Mapped(..))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map, _) => map,
            Content::Owned(bytes) => bytes,
        }
    }

    /// Has the operating system read the pages of `range` ahead of their use.
    pub fn announce(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Content::Mapped(map, _) = &self.content {
            // It is only advice: without it the pages are read when they are used.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }

    /// Lets the operating system take back the pages of `range`; a later read maps them again. Without this, every
    /// weight that was ever read would count as resident memory of this process.
    pub fn release(&self, range: Range<usize>) {
        const PAGE: usize = 4096;
        let Content::Mapped(map, _) = &self.content else { return };
        let start = range.start.next_multiple_of(PAGE);
        let end = range.end / PAGE * PAGE;
        if start >= end {
            return;
        }
        #[cfg(unix)]
        // SAFETY: the map is file-backed, shared and read-only, so pages that are dropped come back from the file with
        // the same bytes. A failure only means that the pages stay, hence no check.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    }
}
