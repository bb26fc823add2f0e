//! `results.jsonl`: a line for each job, on disk as soon as the job is done, and in the order of their names in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::partition::Partition;
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
    /// Held for as long as this lives; the system lets go of it if the process dies.
    _lock: File,
}

impl Results {
    /// Opens, or begins, the results in an output folder.
    pub fn open(folder: &Path, partition: Partition) -> Result<Self> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        let _lock = lock(&folder.join(format!(".lora-slim{}.lock", partition.suffix())), folder)?;
        let path = folder.join(format!("results{}.jsonl", partition.suffix()));
        drop_torn_line(&path)?;
        let records = read(folder, partition)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::write(&path))?;
        Ok(Self { folder: folder.into(), path, file, records, partition, _lock })
    }

    pub fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Puts a record on disk, which survives whatever comes next.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let written = self.file.write_all(&line(&record)).and_then(|()| self.file.sync_data());
        written.map_err(FileError::write(&self.path))?;
        self.records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Leaves one line for each job of this part, in the order of names, and gives back the records of all parts. Those whose
    /// jobs are not among `names` any more are marked.
    pub fn finish(mut self, names: &BTreeSet<&str>) -> Result<Vec<Record>> {
        for record in self.records.values_mut() {
            record.removed = !names.contains(record.name.as_str());
        }
        // A part may have a manifest of its own, and leaves out what it knows of others only.
        let own: BTreeSet<String> = read_file(&self.path)?.into_iter().map(|record| record.name).collect();
        let is_own = |name: &str| names.contains(name) || own.contains(name);
        let mine = self.records.values().filter(|record| self.partition.has(&record.name) && is_own(&record.name));
        let lines: Vec<u8> = mine.flat_map(line).collect();
        NewFile::beside(&self.path, MARK, true)?.publish(&lines)?;
        // Other parts may have gone on since this one began.
        let mut records = read(&self.folder, self.partition)?;
        for record in records.values_mut() {
            record.removed = !names.contains(record.name.as_str());
        }
        Ok(records.into_values().collect())
    }
}

fn line(record: &Record) -> Vec<u8> {
    // A record has nothing in it that JSON could not say.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

fn lock(path: &Path, folder: &Path) -> Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(FileError::write(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(BatchError::Busy { path: folder.into() }.into()),
        Err(fs::TryLockError::Error(source)) => Err(FileError::Write { path: path.into(), source }.into()),
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

/// The records of all parts in an output folder, by name; those of the same division into parts last, so that they count where a job is in several.
pub fn read(folder: &Path, partition: Partition) -> Result<BTreeMap<String, Record>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> =
        names.filter(|name| name.starts_with("results.") && name.ends_with(".jsonl")).collect();
    let ours = format!("-of-{}.jsonl", partition.count);
    let is_ours = |name: &str| if partition.count == 1 { name == "results.jsonl" } else { name.ends_with(&ours) };
    files.sort_by_key(|name| (is_ours(name), name.clone()));
    let mut records = BTreeMap::new();
    for name in files {
        records.extend(read_file(&folder.join(name))?.into_iter().map(|record| (record.name.clone(), record)));
    }
    Ok(records)
}

/// The records of a file, of whose last line there may be only the beginning: another process is writing it.
fn read_file(path: &Path) -> Result<Vec<Record>> {
    let text = fs::read_to_string(path).map_err(FileError::read(path))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |line| serde_json::from_str(line).map_err(|source| FileError::Json { path: path.into(), source });
    Ok(whole.map(parse).collect::<std::result::Result<_, _>>()?)
}
