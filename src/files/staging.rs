//! A folder that appears at its place complete or not at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::claim::Claim;
use super::folder::{Access, Folder};
use super::inputs;
use super::json;
use super::output::{check_free, check_output, not_published};
use super::scratch::Scratch;
use crate::error::{FileError, Result};

/// A folder in preparation, beside its place, which no other run can write meanwhile. Dropped, it leaves nothing behind but
/// what it has published.
#[derive(Debug)]
pub struct Staging {
    /// The target as the user wrote it.
    shown: PathBuf,
    folder: Folder,
    claim: Claim,
    force: bool,
}

impl Staging {
    /// Reserves the place of an output, which must be no input, lie in none and contain none. Nothing may exist there except,
    /// with `force`, an adapter folder or an empty one. Call it before any work, so that a long run cannot fail at its end.
    pub fn reserve(output: &Path, inputs: &[&Path], force: bool) -> Result<Self> {
        check_output(output, inputs, force)?;
        let staging = Self { force, ..Self::beside(output)? };
        // Another run may have been faster.
        check_free(output, force)?;
        Ok(staging)
    }

    /// The same without inputs to keep apart from and without replacing anything.
    pub fn beside(target: &Path) -> Result<Self> {
        Self::of(Claim::of(target)?, target)
    }

    /// The same for a name in a temporary folder.
    pub fn in_scratch(scratch: &Scratch, name: &str) -> Result<Self> {
        let target = scratch.path().join(name);
        let folder = scratch.folder().map_err(FileError::write(&target))?;
        Self::of(Claim::inside(folder, name.as_ref())?, &target)
    }

    fn of(claim: Claim, target: &Path) -> Result<Self> {
        let folder = claim.draft_folder().map_err(FileError::write(target))?;
        Ok(Self { shown: target.into(), folder, claim, force: false })
    }

    /// Where the folder is until it is published.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the folder will be, as the user wrote it.
    pub fn target(&self) -> &Path {
        &self.shown
    }

    /// Creates a file of the folder, lets `fill` write it and syncs it to disk.
    pub fn file(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        self.unsynced_file(name, |file| {
            fill(file)?;
            file.sync_all()
        })
    }

    /// Creates a file of the folder and lets `fill` write it. [`sync`](Self::sync) has to follow before it is published.
    pub fn unsynced_file(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let written = self.folder.create(name.as_ref()).and_then(|mut file| fill(&mut file));
        Ok(written.map_err(FileError::write(&self.shown.join(name)))?)
    }

    /// Writes over the first bytes of a file of the folder. [`sync`](Self::sync) has to follow before it is published.
    pub fn overwrite_start(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = self.folder.open_file(name.as_ref(), Access::Write).and_then(|mut file| file.write_all(bytes));
        Ok(written.map_err(FileError::write(&self.shown.join(name)))?)
    }

    /// Syncs a file of the folder to disk.
    pub fn sync(&self, name: &str) -> Result<()> {
        let synced = self.folder.open_file(name.as_ref(), Access::Write).and_then(|file| file.sync_all());
        Ok(synced.map_err(FileError::write(&self.shown.join(name)))?)
    }

    /// Replaces a file of the folder, or creates it.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if self.folder.has(name.as_ref()) {
            self.folder.remove_file(name.as_ref()).map_err(FileError::write(&self.shown.join(name)))?;
        }
        self.file(name, |file| file.write_all(bytes))
    }

    /// The file that is called `name`, or else that in other letters, upper or lower.
    pub fn find(&self, name: &str) -> Result<Option<String>> {
        let names = self.folder.names().map_err(FileError::read(&self.shown))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let mut found: Vec<String> = names.filter(|found| found.eq_ignore_ascii_case(name)).collect();
        found.sort_by_key(|found| found != name);
        Ok(found.into_iter().next())
    }

    /// Writes a JSON file, indented by two spaces and without a final newline, as PEFT does.
    pub fn json(&self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        self.file(name, |file| file.write_all(json::to_indented(value)?.as_bytes()))
    }

    /// Copies a file into the folder.
    pub fn copy(&self, source: &Path, name: &str) -> Result<()> {
        let mut from = super::open(source)?;
        self.file(name, |file| io::copy(&mut from, file).map(drop))
    }

    /// Copies what `open` gives for each item into a file of its name. All are written before the first is synced, and they are synced
    /// side by side: one after the other, each would wait for the disk.
    pub fn copy_all<T: Sync, R: Read>(
        &self,
        items: &[T],
        name: impl Fn(&T) -> &str + Sync,
        open: impl Fn(&T) -> Result<R>,
    ) -> Result<()> {
        let failed = |item: &T, source| FileError::Write { path: self.shown.join(name(item)), source };
        for item in items {
            let mut from = open(item)?;
            let to = self.folder.create(name(item).as_ref());
            to.and_then(|mut to| io::copy(&mut from, &mut to)).map_err(|error| failed(item, error))?;
        }
        items.par_iter().try_for_each(|item| {
            let written = self.folder.open_file(name(item).as_ref(), Access::Write);
            Ok(written.and_then(|file| file.sync_all()).map_err(|error| failed(item, error))?)
        })
    }

    /// Moves the finished folder to its place.
    pub fn publish(&self) -> Result<()> {
        self.folder.sync().map_err(FileError::write(&self.shown))?;
        // Some inputs are known only now.
        inputs::check(self.claim.target())?;
        check_free(&self.shown, self.force)?;
        self.claim.publish(self.force).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                FileError::OutputExists { path: self.shown.clone() }.into()
            }
            _ => not_published(&self.shown, source).into(),
        })
    }
}
