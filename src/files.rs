//! Files: JSON with the path in every error, hashes, and files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use crate::error::{FileError, Result};
use crate::report::REPORT_NAME;
use crate::tensors::refuse_lfs_pointer;

/// Parses a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(FileError::read(path))?;
    refuse_lfs_pointer(path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|source| FileError::Json { path: path.into(), source }.into())
}

/// The SHA-256 of a file, in hexadecimal. It is what Git LFS and the Hugging Face Hub call the file's oid.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(FileError::read(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(FileError::read(path))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `output` may be written: it is no input, lies in none, holds none, and is not there yet (or, with `force`,
/// is an adapter folder or an empty one). Called before any work, so that a long run cannot fail at its end.
pub fn check_output(output: &Path, inputs: &[&Path], force: bool) -> Result<()> {
    check_apart(output, inputs)?;
    if !output.exists() && !output.is_symlink() {
        return Ok(());
    }
    if !force {
        return Err(FileError::OutputExists { path: output.into() }.into());
    }
    let replaceable = ["adapter_config.json", REPORT_NAME].iter().any(|file| output.join(file).is_file())
        || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    if !replaceable {
        return Err(FileError::OutputNotAnAdapter { path: output.into() }.into());
    }
    Ok(())
}

/// Whether `output` is no input, lies in none and holds none.
pub fn check_apart(output: &Path, inputs: &[&Path]) -> Result<()> {
    let resolved = resolve(output)?;
    for input in inputs {
        let input = input.canonicalize().map_err(FileError::read(input))?;
        if overlap(&resolved, &input) {
            return Err(FileError::OutputOverlapsInput { output: output.into(), input }.into());
        }
    }
    Ok(())
}

/// Whether two outputs, which need not exist, are apart from each other.
pub fn check_outputs_apart(one: &Path, other: &Path) -> Result<()> {
    if overlap(&resolve(one)?, &resolve(other)?) {
        return Err(FileError::OutputsOverlap { one: one.into(), other: other.into() }.into());
    }
    Ok(())
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The absolute path of something that need not exist: its nearest existing ancestor, resolved, and the rest.
fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(FileError::read(path))?;
    let mut existing = absolute.as_path();
    while let Some(parent) = existing.parent().filter(|_| !existing.exists()) {
        existing = parent;
    }
    let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
    let mut resolved = existing.canonicalize().map_err(FileError::read(existing))?;
    for part in rest.components() {
        match part {
            std::path::Component::ParentDir => _ = resolved.pop(),
            part => resolved.push(part),
        }
    }
    Ok(resolved)
}

/// Makes something temporary in the folder where `target` will stand. What tempfile makes is private to the user; this
/// becomes an output, so `mode` and the umask decide.
fn make_beside<T>(
    target: &Path,
    mode: u32,
    make: impl FnOnce(&mut tempfile::Builder, &Path) -> io::Result<T>,
) -> Result<T> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(FileError::write(parent))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lora-slim-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(make(&mut builder, parent).map_err(FileError::write(parent))?)
}

/// A folder in the making, beside the place where it will stand. Dropped before [`publish`](Self::publish), it
/// leaves nothing behind.
pub struct Staging {
    folder: TempDir,
    target: PathBuf,
}

impl Staging {
    pub fn beside(target: &Path) -> Result<Self> {
        let target = resolve(target)?;
        let folder = make_beside(&target, 0o777, |builder, parent| builder.tempdir_in(parent))?;
        Ok(Self { folder, target })
    }

    /// Where the folder is until it is published.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a file of the folder, lets `fill` write it and syncs it to disk.
    pub fn file(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let path = self.folder.path().join(name);
        File::create_new(&path)
            .and_then(|mut file| {
                fill(&mut file)?;
                file.sync_all()
            })
            .map_err(FileError::write(&path))?;
        Ok(())
    }

    /// A JSON file, indented by two spaces and without a newline at its end, as PEFT writes its own.
    pub fn json(&self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        self.file(name, |file| {
            let text = serde_json::to_string_pretty(value)?;
            file.write_all(text.as_bytes())
        })
    }

    pub fn copy(&self, source: &Path, name: &str) -> Result<()> {
        let mut from = File::open(source).map_err(FileError::read(source))?;
        self.file(name, |file| io::copy(&mut from, file).map(drop))
    }

    /// Moves the finished folder to its place. A folder that stands there is moved aside first and deleted last.
    pub fn publish(self) -> Result<()> {
        let target = self.target.as_path();
        let parent = target.parent().unwrap_or(Path::new("/"));
        sync_folder(self.folder.path())?;
        let replaced = if target.exists() {
            let aside = tempfile::Builder::new().prefix(".lora-slim-old-").tempdir_in(parent);
            let aside = aside.map_err(FileError::write(parent))?;
            fs::rename(target, aside.path().join("replaced")).map_err(FileError::write(target))?;
            Some(aside)
        } else {
            None
        };
        if let Err(source) = fs::rename(self.folder.path(), target) {
            if let Some(aside) = &replaced {
                fs::rename(aside.path().join("replaced"), target).map_err(FileError::write(target))?;
            }
            return Err(FileError::Write { path: target.into(), source }.into());
        }
        // The folder has moved: there is nothing left for its guard to delete.
        let _ = self.folder.keep();
        sync_folder(parent)
    }
}

/// A file in the making, beside the place where it will stand. Made before a long run, it shows that the place can be
/// written; dropped before [`publish`](Self::publish), it leaves nothing behind.
pub struct NewFile {
    file: NamedTempFile,
    target: PathBuf,
    replace: bool,
}

impl NewFile {
    /// With `force` a file at `target` is replaced if it begins with `mark`, by which this program knows its own, or
    /// is empty.
    pub fn beside(target: &Path, mark: &[u8], force: bool) -> Result<Self> {
        if target.exists() || target.is_symlink() {
            check_replaceable(target, mark, force)?;
        }
        let target = resolve(target)?;
        let file = make_beside(&target, 0o666, |builder, parent| builder.tempfile_in(parent))?;
        Ok(Self { file, target, replace: force })
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Fills the file, syncs it to disk and moves it to its place.
    pub fn publish(mut self, content: &[u8]) -> Result<()> {
        let target = self.target.as_path();
        let written = self.file.write_all(content).and_then(|()| self.file.as_file().sync_all());
        written.map_err(FileError::write(target))?;
        let moved = if self.replace { self.file.persist(target) } else { self.file.persist_noclobber(target) };
        moved.map_err(|error| FileError::write(target)(error.error))?;
        sync_folder(target.parent().unwrap_or(Path::new("/")))
    }
}

fn check_replaceable(path: &Path, mark: &[u8], force: bool) -> Result<()> {
    if !force {
        return Err(FileError::ReportExists { path: path.into() }.into());
    }
    let mut beginning = Vec::new();
    let read = path.is_file().then(|| File::open(path)?.take(mark.len() as u64).read_to_end(&mut beginning));
    match read.transpose().map_err(FileError::read(path))? {
        Some(_) if beginning.is_empty() || beginning == mark => Ok(()),
        _ => Err(FileError::NotAReport { path: path.into() }.into()),
    }
}

/// Makes the names in a folder durable. Folders cannot be synced on every system, so only Unix tries.
fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path).and_then(|folder| folder.sync_all()).map_err(FileError::write(path))?;
    Ok(())
}
