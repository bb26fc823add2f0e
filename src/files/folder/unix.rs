//! By calls that are relative to an open folder.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::{Access, Folder};

/// The mode of folders that only their owner may use. The bit that means "only owners delete" for shared folders has no
/// use there, so it marks the folders that this program made.
pub const MARKED: u32 = 0o1700;

impl Folder {
    /// Opens a folder; a link to one is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
        Ok(Self { handle, path: path.into() })
    }

    /// Opens a folder in this one.
    pub fn subfolder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags, Mode::empty()))?;
        Ok(Self { handle: handle.into(), path: self.path.join(name) })
    }

    /// The same folder once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()?, path: self.path.clone() })
    }

    /// The path by which the folder was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in this one, for whom the umask says.
    pub fn make(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777))?)
    }

    /// Makes a folder in this one that only the user may use.
    pub fn make_own(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.handle, name, Mode::RWXU)?)
    }

    /// Creates a file that nothing may stand in the place of.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666)))?.into())
    }

    /// Opens a regular file. An error of the kind `InvalidInput` is for whatever else has this name.
    pub fn open_file(&self, name: &OsStr, access: Access) -> io::Result<File> {
        let kind = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Append => OFlags::RDWR | OFlags::APPEND | OFlags::CREATE,
        };
        let flags = kind | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666)));
        let file: File = match opened {
            Ok(file) => file.into(),
            // A link; a pipe that nobody reads; a folder.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(not_regular()),
            Err(error) => return Err(error.into()),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &OsStr) -> bool {
        self.stat(name).is_ok()
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whether this name is that of an open file.
    pub fn is_at(&self, name: &OsStr, file: &File) -> bool {
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        match (self.stat(name), rustix::fs::fstat(file)) {
            (Ok(there), Ok(open)) => identity(there) == identity(open),
            _ => false,
        }
    }

    /// Whether this name is that of an open folder.
    pub fn is_folder_at(&self, name: &OsStr, folder: &Folder) -> bool {
        self.is_at(name, &folder.handle)
    }

    /// Whether the folder is the user's own, and nobody else may write into it.
    pub fn is_own(&self) -> bool {
        let shared = Mode::WGRP | Mode::WOTH;
        rustix::fs::fstat(&self.handle)
            .is_ok_and(|stat| stat.st_uid == user() && !Mode::from_raw_mode(stat.st_mode).intersects(shared))
    }

    /// Whether the folder was made with the mode [`MARKED`].
    pub fn is_marked(&self) -> bool {
        let mode = rustix::fs::fstat(&self.handle).map(|stat| Mode::from_raw_mode(stat.st_mode));
        mode == Ok(Mode::from_raw_mode(MARKED as RawMode))
    }

    /// How many names a file has.
    pub fn links(file: &File) -> u64 {
        file.metadata().map_or(1, |metadata| metadata.nlink())
    }

    /// The names in the folder.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if ![&b"."[..], b".."].contains(&name) {
                names.push(OsString::from_vec(name.into()));
            }
        }
        Ok(names)
    }

    /// Removes whatever has this name, if anything does, with all that lies in it. Links are removed and not followed,
    /// and what is mounted there stays.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // POSIX has PERM for folders, Linux ISDIR.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let inner = self.subfolder(name)?;
        if inner.is_mount_root() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        inner.names()?.iter().try_for_each(|name| inner.remove(name))?;
        self.remove_empty(name)
    }

    /// Removes an empty folder.
    pub fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a file.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Whether something is mounted here, or at something below.
    pub fn mount_below(&self) -> io::Result<Option<PathBuf>> {
        if self.is_mount_root() {
            return Ok(Some(self.path.clone()));
        }
        for name in self.names()? {
            let stat = self.stat(&name)?;
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let found = if is_folder {
                self.subfolder(&name)?.mount_below()?
            } else {
                is_mount_root(&self.handle, &name).then(|| self.path.join(&name))
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn is_mount_root(&self) -> bool {
        is_mount_root(&self.handle, OsStr::new(""))
    }

    /// Copies what lies in this folder into another one that is empty, and syncs it: files, folders and links.
    pub fn copy_into(&self, to: &Folder) -> io::Result<()> {
        for name in self.names()? {
            let stat = self.stat(&name)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    to.make(&name)?;
                    self.subfolder(&name)?.copy_into(&to.subfolder(&name)?)?;
                }
                FileType::RegularFile => {
                    let mut copy = to.create(&name)?;
                    io::copy(&mut self.open_file(&name, Access::Read)?, &mut copy)?;
                    copy.sync_all()?;
                }
                FileType::Symlink => {
                    let leads_to = rustix::fs::readlinkat(&self.handle, &name, Vec::new())?;
                    rustix::fs::symlinkat(leads_to, &to.handle, &name)?;
                }
                _ => return Err(not_regular()),
            }
        }
        to.sync()
    }

    /// The size of a regular file of this name; `None` for what is absent or something else.
    pub fn size(&self, name: &OsStr) -> Option<u64> {
        self.open_file(name, Access::Read).ok()?.metadata().ok().map(|metadata| metadata.len())
    }

    /// Makes the names in the folder durable.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Gives what is named `from` here the name `to` in another folder, replacing what has it.
    pub fn rename(&self, from: &OsStr, other: &Folder, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &other.handle, to)?)
    }

    /// As [`rename`](Self::rename), in one call that never replaces anything; `None` where the system has no such call.
    pub fn rename_to_free(&self, from: &OsStr, other: &Folder, to: &OsStr) -> Option<io::Result<()>> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        return self.rename_with(from, other, to, rustix::fs::RenameFlags::NOREPLACE);
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        {
            let _ = (from, other, to);
            None
        }
    }

    /// Exchanges two names in one call, so that neither is ever free; `None` where the system or the file system has no
    /// such call.
    pub fn exchange(&self, name: &OsStr, other: &Folder, with: &OsStr) -> Option<io::Result<()>> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        return self.rename_with(name, other, with, rustix::fs::RenameFlags::EXCHANGE);
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        {
            let _ = (name, other, with);
            None
        }
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    fn rename_with(
        &self,
        from: &OsStr,
        other: &Folder,
        to: &OsStr,
        flags: rustix::fs::RenameFlags,
    ) -> Option<io::Result<()>> {
        match rustix::fs::renameat_with(&self.handle, from, &other.handle, to, flags) {
            // A layered file system cannot move the folders of its lower layers, and says XDEV.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV) => None,
            done => Some(done.map_err(io::Error::from)),
        }
    }
}

/// The user whose rights this process has.
fn user() -> u32 {
    // SAFETY: the call has no arguments, and cannot fail.
    unsafe { libc::geteuid() }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

/// Makes a temporary folder that only the user may use, with the mode [`MARKED`].
pub fn make_private(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    let mode = Permissions::from_mode(MARKED);
    Ok(tempfile::Builder::new().prefix(prefix).permissions(mode).tempdir_in(parent)?.keep())
}

/// Whether something is mounted at a path.
pub fn is_mount_point(path: &Path) -> bool {
    is_mount_root(rustix::fs::CWD, path.as_os_str())
}

/// Whether something is mounted at a name of a folder or, without a name, at the folder. `false` where the system does
/// not tell.
fn is_mount_root(folder: impl AsFd, name: &OsStr) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatxAttributes, StatxFlags, statx};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        statx(folder, name, flags, StatxFlags::empty())
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (folder, name);
        false
    }
}
