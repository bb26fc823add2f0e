//! `results.jsonl`: a line for each job, on disk as soon as the job is done, and in the order of their names in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::partition::{Partition, WHOLE};
use crate::error::{BatchError, FileError, Result};
use crate::files::NewFile;
use crate::report::batch::Record;

/// The beginning of every line, by which a file of results is known.
const MARK: &[u8] = b"{\"name\":";

/// The results of one part of a batch, which no other process has open.
pub struct Results {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Of all parts, by name.
    records: BTreeMap<String, Record>,
    partition: Partition,
    /// Held for as long as this lives; the system lets go of them if the process dies.
    _locks: Vec<File>,
}

impl Results {
    /// Opens, or begins, the results in an output folder.
    pub fn open(folder: &Path, partition: Partition) -> Result<Self> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        // Parts do not disturb each other, but they and the whole do.
        let mut locks = vec![lock(folder, "", partition == WHOLE)?];
        if partition != WHOLE {
            locks.push(lock(folder, &partition.suffix(), true)?);
        }
        let path = folder.join(format!("results{}.jsonl", partition.suffix()));
        drop_torn_line(&path)?;
        let records = read(folder, partition)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::write(&path))?;
        Ok(Self { folder: folder.into(), path, file, records, partition, _locks: locks })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Puts a record on disk, which survives whatever comes next.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let whole = self.file.metadata().map_err(FileError::write(&self.path))?.len();
        if let Err(source) = self.file.write_all(&line(&record)).and_then(|()| self.file.sync_data()) {
            // A line that has no end must not become the beginning of another one.
            let _ = self.file.set_len(whole);
            return Err(FileError::Write { path: self.path.clone(), source }.into());
        }
        self.records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Leaves one line for each job of this part, in the order of names. Those whose jobs are not among `names` any more are
    /// marked.
    pub fn finish(&mut self, names: &BTreeSet<&str>) -> Result<()> {
        mark_removed(&mut self.records, names);
        // A part may have a manifest of its own, and leaves out what it knows of others only.
        let own: BTreeSet<String> = read_file(&self.path)?.into_iter().map(|record| record.name).collect();
        let is_own = |name: &str| names.contains(name) || own.contains(name);
        let mine = self.records.values().filter(|record| self.partition.has(&record.name) && is_own(&record.name));
        let lines: Vec<u8> = mine.flat_map(line).collect();
        NewFile::beside(&self.path, MARK, true)?.publish(&lines)
    }

    /// The records of all parts as they are now: others may have gone on since this one began.
    pub fn of_all_parts(&self, names: &BTreeSet<&str>) -> Result<Vec<Record>> {
        let mut records = read(&self.folder, self.partition)?;
        mark_removed(&mut records, names);
        Ok(records.into_values().collect())
    }
}

fn mark_removed(records: &mut BTreeMap<String, Record>, names: &BTreeSet<&str>) {
    for record in records.values_mut() {
        record.removed = !names.contains(record.name.as_str());
    }
}

fn line(record: &Record) -> Vec<u8> {
    // A record has nothing in it that JSON could not say.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Takes a lock in an output folder; on file systems without locks it is a file and nothing more.
fn lock(folder: &Path, suffix: &str, alone: bool) -> Result<File> {
    let path = folder.join(format!(".lora-slim{suffix}.lock"));
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(FileError::write(&path))?;
    match if alone { file.try_lock() } else { file.try_lock_shared() } {
        Err(fs::TryLockError::WouldBlock) => Err(BatchError::Busy { path: folder.into() }.into()),
        Err(fs::TryLockError::Error(source)) if source.kind() != io::ErrorKind::Unsupported => {
            Err(FileError::Write { path, source }.into())
        }
        _ => Ok(file),
    }
}

/// A line without an end is what a kill left.
fn drop_torn_line(path: &Path) -> Result<()> {
    let Ok(bytes) = fs::read(path) else { return Ok(()) };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    if whole == bytes.len() {
        return Ok(());
    }
    let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(whole as u64)?;
        file.sync_data()
    });
    Ok(cut.map_err(FileError::write(path))?)
}

/// Whether a file of results may have this name: `results.jsonl`, or `results.2-of-4.jsonl`.
pub fn is_name(name: &str) -> bool {
    let part = name.strip_prefix("results").and_then(|rest| rest.strip_suffix(".jsonl"));
    part.is_some_and(|part| part.is_empty() || part.starts_with('.'))
}

/// The records of all parts in an output folder, by name; those of the same division into parts last, so that they count where a
/// job is in several.
pub fn read(folder: &Path, partition: Partition) -> Result<BTreeMap<String, Record>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> = names.filter(|name| is_name(name) && folder.join(name).is_file()).collect();
    let ours = format!("-of-{}.jsonl", partition.count);
    let is_ours = |name: &str| if partition == WHOLE { name == "results.jsonl" } else { name.ends_with(&ours) };
    files.sort_by_key(|name| (is_ours(name), name.clone()));
    let mut records = BTreeMap::new();
    for name in files {
        records.extend(read_file(&folder.join(name))?.into_iter().map(|record| (record.name.clone(), record)));
    }
    Ok(records)
}

/// The records of a file. The last line may be one that another process is writing; a line that cannot be read is as one that is
/// not there: its job is done again.
fn read_file(path: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(path).map_err(FileError::read(path))?;
    let whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let records: Vec<Option<Record>> = whole.map(|line| serde_json::from_slice(line).ok()).collect();
    let broken = records.iter().filter(|record| record.is_none()).count();
    if broken > 0 {
        tracing::warn!("{broken} lines of `{}` cannot be read; what they stand for is done again", path.display());
    }
    Ok(records.into_iter().flatten().collect())
}
