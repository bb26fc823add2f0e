//! By paths, on systems without calls that are relative to an open folder.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Access, Folder};

impl Folder {
    /// Opens a folder; a link to one is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata()?.is_dir() {
            Ok(Self { path: path.into() })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// Opens a folder in this one.
    pub fn subfolder(&self, name: &OsStr) -> io::Result<Self> {
        Self::open(&self.path.join(name))
    }

    /// The same folder once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { path: self.path.clone() })
    }

    /// The path by which the folder was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in this one.
    pub fn make(&self, name: &OsStr) -> io::Result<()> {
        fs::create_dir(self.path.join(name))
    }

    /// Makes a folder in this one that only the user may use, as far as the folders above say so.
    pub fn make_own(&self, name: &OsStr) -> io::Result<()> {
        self.make(name)
    }

    /// Creates a file that nothing may stand in the place of.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))
    }

    /// Opens a regular file. An error of the kind `InvalidInput` is for whatever else has this name.
    pub fn open_file(&self, name: &OsStr, access: Access) -> io::Result<File> {
        let path = self.path.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::Write => options.read(true).write(true),
            Access::Append => options.read(true).append(true).create(true),
        };
        options.open(path)
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &OsStr) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    /// Whether this name is that of an open file.
    pub fn is_at(&self, name: &OsStr, _file: &File) -> bool {
        self.has(name)
    }

    /// Whether this name is that of an open folder.
    pub fn is_folder_at(&self, name: &OsStr, _folder: &Folder) -> bool {
        self.has(name)
    }

    /// Whether the folder is the user's own.
    pub fn is_own(&self) -> bool {
        true
    }

    /// Whether the folder was made by this program.
    pub fn is_marked(&self) -> bool {
        true
    }

    /// How many names a file has.
    pub fn links(_file: &File) -> u64 {
        1
    }

    /// The names in the folder.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Removes whatever has this name, if anything does, with all that lies in it.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        let path = self.path.join(name);
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

    /// Removes an empty folder.
    pub fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_dir(self.path.join(name))
    }

    /// Removes a file.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    /// Whether something is mounted here, or at something below.
    pub fn mount_below(&self) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Copies what lies in this folder into another one that is empty.
    pub fn copy_into(&self, to: &Folder) -> io::Result<()> {
        for name in self.names()? {
            match self.subfolder(&name) {
                Ok(inner) => {
                    to.make(&name)?;
                    inner.copy_into(&to.subfolder(&name)?)?;
                }
                Err(_) => {
                    io::copy(&mut self.open_file(&name, Access::Read)?, &mut to.create(&name)?)?;
                }
            }
        }
        Ok(())
    }

    /// The size of a regular file of this name; `None` for what is absent or something else.
    pub fn size(&self, name: &OsStr) -> Option<u64> {
        self.open_file(name, Access::Read).ok()?.metadata().ok().map(|metadata| metadata.len())
    }

    /// Names in a folder are made durable by the system.
    pub fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Gives what is named `from` here the name `to` in another folder, replacing what has it.
    pub fn rename(&self, from: &OsStr, other: &Folder, to: &OsStr) -> io::Result<()> {
        fs::rename(self.path.join(from), other.path.join(to))
    }

    /// `None`: there is no such call.
    pub fn rename_to_free(&self, _from: &OsStr, _other: &Folder, _to: &OsStr) -> Option<io::Result<()>> {
        None
    }

    /// `None`: there is no such call.
    pub fn exchange(&self, _name: &OsStr, _other: &Folder, _with: &OsStr) -> Option<io::Result<()>> {
        None
    }
}

/// Makes a temporary folder that only the user may use.
pub fn make_private(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?.keep())
}

/// Whether something is mounted at a path.
pub fn is_mount_point(_path: &Path) -> bool {
    false
}
