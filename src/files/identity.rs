//! What a file is apart from its names.

use std::fs::Metadata;

/// A file's or folder's identity on this machine: links, bind mounts and other spellings of its name lead to the same
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    /// `None` where the system has no such identity.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some(Self { device: metadata.dev(), inode: metadata.ino() })
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            None
        }
    }
}

/// Tells a file from itself after it was written to, or after another one was put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    length: u64,
    modified: Option<std::time::SystemTime>,
    id: Option<FileId>,
    /// When its bytes, its name or its times were changed, which no program can set; in seconds and nanoseconds.
    changed: Option<(i64, i64)>,
}

impl FileState {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            id: FileId::of(metadata),
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt;
                Some((metadata.ctime(), metadata.ctime_nsec()))
            },
            #[cfg(not(unix))]
            changed: None,
        }
    }
}
