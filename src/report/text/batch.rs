//! A batch for the terminal: a line for each adapter, and one for all.

use std::path::Path;

use super::bytes;
use crate::report::batch::{Found, Record, Status};

/// How a job ended.
pub fn line(record: &Record) -> String {
    // Names may have line breaks in them.
    let name = record.name.escape_debug();
    match (&record.status, &record.found) {
        (Status::Done, Some(found)) => format!("{name}: {}\n", figures(found)),
        (status, _) => format!("{name}: {}: {}\n", status.name(), record.error.as_deref().unwrap_or_default()),
    }
}

fn figures(found: &Found) -> String {
    let Found { kept_layers, layers, bytes_before, bytes_after, .. } = found;
    let mut text = format!("{kept_layers} of {layers} layers, {} → {}", bytes(*bytes_before), bytes(*bytes_after));
    if let (Some(loss), Some(whole)) = (found.loss, found.loss_whole) {
        text += &format!(", loss {loss:.4} (whole adapter {whole:.4})");
    }
    text
}

/// What came of all `jobs`, of which some were `unchanged`.
pub fn end(jobs: usize, unchanged: usize, records: &[Record], output: &Path) -> String {
    let found =
        records.iter().filter(|record| record.status == Status::Done).filter_map(|record| record.found.as_ref());
    let (before, after) =
        found.fold((0, 0), |(before, after), found| (before + found.bytes_before, after + found.bytes_after));
    format!(
        "{jobs} adapters, {unchanged} of them unchanged; {} → {} in all, see {}\n",
        bytes(before),
        bytes(after),
        output.join("index.html").display()
    )
}
