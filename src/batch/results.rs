//! `results.jsonl`: a line for each job, on disk as soon as the job is done, and sorted by name at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::partition::{Partition, WHOLE};
use crate::error::{FileError, Result};
use crate::files::{self, Access, FileLock, Folder, LockAttempt, LockMode, NewFile};
use crate::format::plural;
use crate::report::batch::{Record, Status};

/// The largest file of results that is read, in bytes: those of some 300,000 adapters.
const LARGEST: u64 = 256 << 20;

/// The beginning of every line, which identifies a file of results.
const MARK: &[u8] = b"{\"name\":\"";

/// The results of one part of a batch, which no other process has open.
pub struct Results {
    folder: PathBuf,
    opened: Folder,
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
        let opened = open_folder(folder).map_err(FileError::write(folder))?;
        // Parts may run side by side, but not beside the undivided batch.
        let take = |suffix: &str, mode| lock(&opened, &format!(".lora-slim{suffix}.lock"), folder, mode);
        let locks = match partition {
            WHOLE => vec![take("", LockMode::Exclusive)?],
            _ => vec![take("", LockMode::Shared)?, take(&partition.suffix(), LockMode::Exclusive)?],
        };
        let name = format!("results{}.jsonl", partition.suffix());
        let path = folder.join(&name);
        files::check_apart(&path, &[])?;
        make_ready(&opened, &name, &path)?;
        let records = read(folder, partition)?;
        let file = opened.open_file(name.as_ref(), Access::Append).map_err(FileError::write(&path))?;
        Ok(Self {
            folder: folder.into(),
            opened,
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
        let own: BTreeSet<String> = own_records(&self.opened, &self.path)?;
        let is_own = |name: &str| names.contains(name) || own.contains(name);
        let mine = self.records.values().filter(|record| self.partition.has(&record.name) && is_own(&record.name));
        let lines: Vec<u8> = mine.flat_map(line).collect();
        NewFile::inside(&self.opened, &self.path, MARK)?.publish(&lines)
    }

    /// The records of all parts as they are now: others may have progressed since this one began.
    pub fn of_all_parts(&self, names: &BTreeSet<&str>) -> Result<Vec<Record>> {
        let mut records = read(&self.folder, self.partition)?;
        mark_removed(&mut records, names);
        Ok(records.into_values().collect())
    }
}

fn mark_removed(records: &mut BTreeMap<String, Record>, names: &BTreeSet<&str>) {
    // A place that was left out is searched now, or gone.
    records.retain(|name, record| record.status != Status::LeftOut || names.contains(name.as_str()));
    for record in records.values_mut() {
        record.removed = !names.contains(record.name.as_str());
    }
}

fn line(record: &Record) -> Vec<u8> {
    // A record holds nothing that JSON cannot express.
    (files::json::to_line(record).unwrap_or_default() + "\n").into_bytes()
}

fn open_folder(folder: &Path) -> io::Result<Folder> {
    Folder::open(&folder.canonicalize()?)
}

/// Takes a lock in an output folder, which the user calls `shown`; `None` on file systems without locks.
fn lock(folder: &Folder, name: &str, shown: &Path, mode: LockMode) -> Result<Option<FileLock>> {
    match FileLock::lasting(folder, name.as_ref(), mode).map_err(FileError::write(&shown.join(name)))? {
        LockAttempt::Acquired(lock) => Ok(Some(lock)),
        LockAttempt::Unsupported => Ok(None),
        LockAttempt::Taken | LockAttempt::Gone | LockAttempt::NotOurs => {
            Err(FileError::Busy { path: shown.into() }.into())
        }
    }
}

/// Checks that the file of results, if there is one, is a batch's, and drops a last line without an end, which a killed
/// run left.
fn make_ready(folder: &Folder, name: &str, path: &Path) -> Result<()> {
    let Some(file) = open(folder, name, path, Access::Write)? else { return Ok(()) };
    let links = Folder::links(&file);
    let again = file.try_clone().map_err(FileError::write(path))?;
    let bytes = files::read_opened(again, path, LARGEST)?;
    check_own(&bytes, path)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    if links > 1 {
        // Lines are added to the file itself, and it is a backup's, too.
        return NewFile::inside(folder, path, MARK)?.publish(&bytes[..whole]);
    }
    if whole < bytes.len() {
        file.set_len(whole as u64).and_then(|()| file.sync_data()).map_err(FileError::write(path))?;
    }
    Ok(())
}

/// Opens a file of results; `None` if there is none. Links and pipes are refused.
fn open(folder: &Folder, name: &str, path: &Path, access: Access) -> Result<Option<File>> {
    match folder.open_file(name.as_ref(), access) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(not_results(path, "it is no regular file")),
        Err(error) => Err(FileError::read(path)(error).into()),
    }
}

/// Checks that a batch wrote the first line, or its beginning.
fn check_own(bytes: &[u8], path: &Path) -> Result<()> {
    let first = bytes.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_record = || serde_json::from_slice::<Record>(first).is_ok();
    // Torn off by a kill. A whole value is no beginning of a record.
    let may_be_torn = !first.ends_with(b"\n") && (first.starts_with(MARK) || MARK.starts_with(first));
    let is_value = || serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok();
    if first.is_empty() || is_record() || may_be_torn && !is_value() {
        Ok(())
    } else {
        Err(not_results(path, "its first line is no record of a job"))
    }
}

fn not_results(path: &Path, reason: &str) -> crate::Error {
    FileError::NotResults { path: path.into(), reason: reason.into() }.into()
}

/// Whether this may be the name of a file of results: `results.jsonl`, or `results.2-of-4.jsonl`.
pub fn is_name(name: &str) -> bool {
    part_of(name).is_some_and(|part| part.is_empty() || part.starts_with('.'))
}

fn part_of(name: &str) -> Option<&str> {
    name.strip_prefix("results")?.strip_suffix(".jsonl")
}

/// Whether this is the name of a part's results.
fn is_name_of_part(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = part_of(name).and_then(|part| part.strip_prefix('.')?.split_once("-of-"));
    numbers.is_some_and(|(number, count)| is_number(number) && is_number(count))
}

/// The records of all parts in an output folder, by name. If a job has several, that of the same division into parts counts.
pub fn read(folder: &Path, partition: Partition) -> Result<BTreeMap<String, Record>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    let opened = open_folder(folder).map_err(FileError::read(folder))?;
    let names = opened.names().map_err(FileError::read(folder))?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut files: Vec<String> = names.filter(|name| name == "results.jsonl" || is_name_of_part(name)).collect();
    let ours = format!("-of-{}.jsonl", partition.count);
    let is_ours = |name: &str| if partition == WHOLE { name == "results.jsonl" } else { name.ends_with(&ours) };
    files.sort_by_key(|name| (is_ours(name), name.clone()));
    let mut records = BTreeMap::new();
    for name in files {
        let found = match read_file(&opened, &name, &folder.join(&name)) {
            // Somebody else's file with the name of another division is none of our business.
            Err(crate::Error::File(FileError::NotResults { .. })) if !is_ours(&name) => continue,
            found => found?,
        };
        records.extend(found.into_iter().map(|record| (record.name.clone(), record)));
    }
    Ok(records)
}

/// The names of the jobs that the file at `path`, in `folder`, has records of.
fn own_records(folder: &Folder, path: &Path) -> Result<BTreeSet<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(read_file(folder, &name, path)?.into_iter().map(|record| record.name).collect())
}

/// The records of a file. The job of an unreadable line is done again. Another process may be writing the last line.
fn read_file(folder: &Folder, name: &str, path: &Path) -> Result<Vec<Record>> {
    let Some(file) = open(folder, name, path, Access::Read)? else { return Ok(Vec::new()) };
    let bytes = read_growing(file, path)?;
    check_own(&bytes, path)?;
    let whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let records: Vec<Option<Record>> = whole.map(|line| serde_json::from_slice(line).ok()).collect();
    let broken = records.iter().filter(|record| record.is_none()).count();
    if broken > 0 {
        let lines = plural(broken, "line");
        tracing::warn!("{lines} of `{}` cannot be read; their jobs are done again", path.display());
    }
    Ok(records.into_iter().flatten().collect())
}

/// The bytes of a file to which another process may be adding lines.
fn read_growing(file: File, path: &Path) -> Result<Vec<u8>> {
    let length = file.metadata().map_err(FileError::read(path))?.len();
    files::read_pipe(io::Read::take(file, length), path, LARGEST)
}
