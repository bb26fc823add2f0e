//! Renames that never destroy anything: to a name only if it is free, or by exchange.
//!
//! Linux and macOS do either in one call, which a file system may lack; then the nearest sequence of plain renames is used.

use std::fs;
use std::io;
use std::path::Path;

use super::paths::is_taken;

/// Gives `from` the name `to`, which must be free.
pub fn move_to_free(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    if let Some(done) = rename_with(from, to, rustix::fs::RenameFlags::NOREPLACE) {
        return done;
    }
    if is_taken(to) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Exchanges two names at once, so that neither is ever free; `None` where the system cannot do so.
pub fn exchange(one: &Path, other: &Path) -> Option<io::Result<()>> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    return rename_with(one, other, rustix::fs::RenameFlags::EXCHANGE);
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    {
        let _ = (one, other);
        None
    }
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_with(from: &Path, to: &Path, flags: rustix::fs::RenameFlags) -> Option<io::Result<()>> {
    use rustix::fs::{CWD, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => None,
        done => Some(done.map_err(io::Error::from)),
    }
}

/// Removes whatever has this name, if anything does; links are not followed.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
