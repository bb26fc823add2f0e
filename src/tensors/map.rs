//! Weight files, memory-mapped as a rule.
//!
//! # Assumption
//! No other process changes or truncates a mapped file while it is read: Rust's `&[u8]` promises bytes that do not change,
//! and the operating system cannot keep that promise for a shared file. The tools that make adapters and models do not
//! rewrite finished ones in place, and this program relies on that. If a file does change, the worst result is wrong
//! numbers: headers are copied before they are parsed, sizes are taken from them once, a file that shrinks ends the program
//! with a message (`fault.rs`), and nothing is published before all files were checked to be unchanged.

use std::fs::Metadata;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use super::fault::MapGuard;
use crate::error::{FileError, Result};

/// The bytes of a whole file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    content: Content,
    opened: FileState,
}

/// Tells a file from another one, and from itself after it was written to.
#[derive(Debug, PartialEq)]
struct FileState {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl FileState {
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
    Mapped(Mmap, #[allow(dead_code, reason = "it acts when it is dropped")] MapGuard),
    /// The translation of a file into another format.
    Owned(Vec<u8>),
}

impl WeightFile {
    /// Maps a file read-only.
    pub fn open(path: &Path) -> Result<Self> {
        let file = crate::files::open(path)?;
        let opened = FileState::of(&file.metadata().map_err(FileError::read(path))?);
        // SAFETY: the module's contract, above: the file is not changed while it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(FileError::read(path))?;
        let guard = MapGuard::new(&map, path);
        crate::files::refuse_lfs_pointer(path, &map)?;
        Ok(Self { path: path.into(), content: Content::Mapped(map, guard), opened })
    }

    /// The same file, with its translation in the place of its bytes.
    pub fn translated(self, bytes: Vec<u8>) -> Self {
        Self { content: Content::Owned(bytes), ..self }
    }

    /// Checks that the file is still the one that was opened, and as it was.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.path.metadata().map_err(FileError::read(&self.path))?;
        if FileState::of(&now) == self.opened {
            Ok(())
        } else {
            Err(FileError::Changed { path: self.path.clone() }.into())
        }
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

    /// Asks the operating system to read the pages of `range` ahead of their use.
    pub fn prefetch(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Content::Mapped(map, _) = &self.content {
            // Failure is harmless: the pages are then read when they are used.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }

    /// Gives the pages of `range` back to the operating system; a later read maps them again. Otherwise every weight that
    /// was ever read would count as resident memory of this process.
    pub fn release(&self, range: Range<usize>) {
        const PAGE: usize = 4096;
        let Content::Mapped(map, _) = &self.content else { return };
        let start = range.start.next_multiple_of(PAGE);
        let end = range.end / PAGE * PAGE;
        if start >= end {
            return;
        }
        #[cfg(unix)]
        // SAFETY: the map is file-backed, shared and read-only, so dropped pages come back from the file with the same
        // bytes. After a failure the pages merely stay, hence no check.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    }
}
