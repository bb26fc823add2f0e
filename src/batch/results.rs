//! `results.jsonl`: a line for each job, on disk as soon as the job is done, and sorted by name at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::partition::{Partition, WHOLE};
use crate::error::{FileError, Result};
use crate::files::{self, FileLock, LockAttempt, LockMode, NewFile};
use crate::format::plural;
use crate::report::batch::Record;

/// The largest file of results that is read, in bytes: those of some 300,000 adapters.
const LARGEST: u64 = 256 << 20;

/// The beginning of every line, which identifies a file of results.
const MARK: &[u8] = b"{\"name\":";

/// The results of one part of a batch, which no other process has open.
pub struct Results {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Of all parts, by name.
    records: BTreeMap<String, Record>,
    partition: Partition,
    _locks: Vec<FileLock>,
}

impl Results {
    /// Opens or creates the results in an output folder.
    pub fn open(folder: &Path, partition: Partition) -> Result<Self> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        // Parts may run side by side, but not beside the undivided batch.
        let locks = match partition {
            WHOLE => vec![lock(folder, "", LockMode::Exclusive)?],
            _ => vec![lock(folder, "", LockMode::Shared)?, lock(folder, &partition.suffix(), LockMode::Exclusive)?],
        };
        let path = folder.join(format!("results{}.jsonl", partition.suffix()));
        drop_torn_line(&path)?;
        let records = read(folder, partition)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::write(&path))?;
        Ok(Self {
            folder: folder.into(),
            path,
            file,
            records,
            partition,
            _locks: locks.into_iter().flatten().collect(),
        })
    }

    /// The file of this part's results.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record of a job, if it has one.
    pub fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Writes a record to disk, where it survives a kill.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let whole = self.file.metadata().map_err(FileError::write(&self.path))?.len();
        if let Err(source) = self.file.write_all(&line(&record)).and_then(|()| self.file.sync_data()) {
            // A line without an end must not become the beginning of the next one.
            let _ = self.file.set_len(whole);
            return Err(FileError::Write { path: self.path.clone(), source }.into());
        }
        self.records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Leaves one line for each job of this part, sorted by name. Marks records of jobs that are no longer among `names`.
    pub fn finish(&mut self, names: &BTreeSet<&str>) -> Result<()> {
        mark_removed(&mut self.records, names);
        // A part may have a manifest of its own; it does not repeat the records of others.
        let own: BTreeSet<String> = read_file(&self.path)?.into_iter().map(|record| record.name).collect();
        let is_own = |name: &str| names.contains(name) || own.contains(name);
        let mine = self.records.values().filter(|record| self.partition.has(&record.name) && is_own(&record.name));
        let lines: Vec<u8> = mine.flat_map(line).collect();
        NewFile::beside(&self.path, MARK, true)?.publish(&lines)
    }

    /// The records of all parts as they are now: others may have progressed since this one began.
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
    // A record holds nothing that JSON cannot express.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Takes a lock in an output folder; `None` on file systems without locks.
fn lock(folder: &Path, suffix: &str, mode: LockMode) -> Result<Option<FileLock>> {
    let path = folder.join(format!(".lora-slim{suffix}.lock"));
    match FileLock::lasting(path.clone(), mode).map_err(FileError::write(&path))? {
        LockAttempt::Acquired(lock) => Ok(Some(lock)),
        LockAttempt::Unsupported => Ok(None),
        LockAttempt::Taken | LockAttempt::Gone => Err(FileError::Busy { path: folder.into() }.into()),
    }
}

/// Drops a last line without an end, which a killed run left.
fn drop_torn_line(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let bytes = files::read_up_to(path, LARGEST)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    if whole == bytes.len() {
        return Ok(());
    }
    let shortened = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(whole as u64)?;
        file.sync_data()
    });
    Ok(shortened.map_err(FileError::write(path))?)
}

/// Whether this may be the name of a file of results: `results.jsonl`, or `results.2-of-4.jsonl`.
pub fn is_name(name: &str) -> bool {
    let part = name.strip_prefix("results").and_then(|rest| rest.strip_suffix(".jsonl"));
    part.is_some_and(|part| part.is_empty() || part.starts_with('.'))
}

/// The records of all parts in an output folder, by name. If a job has several, that of the same division into parts counts.
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

/// The records of a file. The job of an unreadable line is done again. Another process may be writing the last line.
fn read_file(path: &Path) -> Result<Vec<Record>> {
    let bytes = files::read_up_to(path, LARGEST)?;
    let whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let records: Vec<Option<Record>> = whole.map(|line| serde_json::from_slice(line).ok()).collect();
    let broken = records.iter().filter(|record| record.is_none()).count();
    if broken > 0 {
        let lines = plural(broken, "line");
        tracing::warn!("{lines} of `{}` cannot be read; their jobs are done again", path.display());
    }
    Ok(records.into_iter().flatten().collect())
}
