//! A folder that is open, and what is done with the names in it.
//!
//! A path can come to mean something else between two calls: whoever may write to a folder above can put a link in its
//! place. Names here are relative to the open folder, and links are never followed. So what is removed or renamed is in
//! the folder that was looked at.

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

use std::path::PathBuf;

#[cfg(not(unix))]
pub use elsewhere::{is_mount_point, make_private};
#[cfg(unix)]
pub use unix::{is_mount_point, make_private};

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    #[cfg(unix)]
    handle: std::fs::File,
    path: PathBuf,
}

/// How a file is opened. None of them follows a link or waits for the other end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// For reading and writing.
    Write,
    /// For writing at its end; created if it is absent.
    Append,
}
