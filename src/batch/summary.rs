//! The summary of a batch: a table for programs and a page for people.

use std::path::Path;

use crate::error::{FileError, Result};
use crate::files::{self, Folder, NewFile};
use crate::printable;
use crate::report::batch::{KeyFigures, Record};
use crate::report::{Warning, page};

/// The columns of `summary.csv`.
const COLUMNS: [&str; 22] = [
    "name",
    "status",
    "exit_code",
    "boundary",
    "layers",
    "kept_layers",
    "bytes_before",
    "bytes_after",
    "loss_base",
    "loss_whole",
    "loss",
    "gain_kept",
    "warnings",
    "notes",
    "error",
    "adapter",
    "removed",
    "accuracy",
    "accuracy_whole",
    "metric",
    "score",
    "score_whole",
];

/// How `summary.csv` begins.
const MARK: &[u8] = b"name,status,exit_code,boundary,layers,kept_layers,";

/// Checks, before any work, that what has the names of the summary's files was written by a batch.
pub fn check(folder: &Path) -> Result<()> {
    for (name, mark) in [("summary.csv", MARK), ("index.html", page::BEGINNING.as_bytes())] {
        let path = folder.join(name);
        // What a link leads to is not replaced.
        if path.is_symlink() {
            return Err(FileError::NotAReport { path }.into());
        }
        files::check_apart(&path, &[])?;
        files::check_replaceable(&path, mark, true)?;
    }
    Ok(())
}

/// Writes `summary.csv` and `index.html` of the records that `read` returns. It reads them when it is this process's turn: of
/// several parts that end together, the last one must see the results of the others.
pub fn write(folder: &Path, read: impl FnOnce() -> Result<Vec<Record>>) -> Result<Vec<Record>> {
    let opened = folder.canonicalize().and_then(|path| Folder::open(&path)).map_err(FileError::write(folder))?;
    let page = NewFile::in_turn(&opened, &folder.join("index.html"), page::BEGINNING.as_bytes())?;
    let records = read()?;
    let path = folder.join("summary.csv");
    let table = table(&records).map_err(|error| FileError::Write { path: path.clone(), source: error.into() })?;
    NewFile::in_turn(&opened, &path, MARK)?.publish(&table)?;
    page.publish(page::index::page(&records)?.as_bytes())?;
    Ok(records)
}

fn table(records: &[Record]) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for record in records {
        writer.write_record(row(record))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn row(record: &Record) -> [String; COLUMNS.len()] {
    let found = record.found.as_ref();
    let count =
        |of: fn(&KeyFigures) -> Option<u64>| found.and_then(of).map(|count| count.to_string()).unwrap_or_default();
    let number =
        |of: fn(&KeyFigures) -> Option<f64>| found.and_then(of).map(|number| number.to_string()).unwrap_or_default();
    [
        printable::cell(&record.name),
        record.status.name().into(),
        record.exit_code.to_string(),
        count(|found| found.boundary.map(|boundary| boundary as u64)),
        count(|found| Some(found.layers as u64)),
        count(|found| found.kept_layers.map(|layers| layers as u64)),
        count(|found| found.bytes_before),
        count(|found| found.bytes_after),
        number(|found| found.loss_base),
        number(|found| found.loss_whole),
        number(|found| found.loss),
        number(|found| found.gain_kept),
        printable::cell(&joined(record, " ", |warning| &warning.code)),
        printable::cell(&joined(record, "; ", |warning| &warning.sentence)),
        printable::cell(record.error.as_deref().unwrap_or_default()),
        printable::cell(&record.adapter),
        record.removed.to_string(),
        number(|found| found.accuracy),
        number(|found| found.accuracy_whole),
        printable::cell(found.and_then(|found| found.metric.as_deref()).unwrap_or_default()),
        number(|found| found.score),
        number(|found| found.score_whole),
    ]
}

/// The codes or sentences of a record's warnings in one cell.
fn joined(record: &Record, between: &str, part: fn(&Warning) -> &str) -> String {
    record.warnings.iter().map(part).collect::<Vec<_>>().join(between)
}
