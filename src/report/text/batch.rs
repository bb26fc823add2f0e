//! A batch for the terminal: a line for each adapter, and one for all.

use std::path::Path;

use crate::format::{bytes, plural};
use crate::printable::{self, OneLine};
use crate::report::batch::{KeyFigures, Record, Status};

/// How a job ended.
pub fn line(record: &Record) -> String {
    // Any of it may contain line breaks.
    let (name, codes) = (OneLine(&record.name), OneLine(codes(record)));
    match (&record.status, &record.found) {
        (Status::Done, Some(found)) => format!("{name}: {}{codes}\n", figures(found)),
        (status, _) => {
            let error = printable::message(record.error.as_deref().unwrap_or_default());
            format!("{name}: {}: {error}{codes}\n", status.name())
        }
    }
}

/// The codes of its warnings, in brackets.
fn codes(record: &Record) -> String {
    let codes: Vec<&str> = record.warnings.iter().map(|warning| warning.code.as_str()).collect();
    if codes.is_empty() { String::new() } else { format!(" [{}]", codes.join(", ")) }
}

fn figures(found: &KeyFigures) -> String {
    let KeyFigures { kept_layers, layers, bytes_before, bytes_after, .. } = *found;
    let kept = kept_layers.unwrap_or(0);
    let mut text = format!("{kept} of {}, {} → {}", plural(layers, "layer"), size(bytes_before), size(bytes_after));
    if let (Some(loss), Some(whole)) = (found.loss, found.loss_whole) {
        text += &format!(", loss {loss:.4} (whole adapter {whole:.4})");
    }
    text
}

fn size(of: Option<u64>) -> String {
    bytes(of.unwrap_or(0))
}

/// The result of all `jobs`, of which some were `unchanged`.
pub fn end(jobs: usize, unchanged: usize, records: &[Record], output: &Path) -> String {
    let done = records.iter().filter(|record| record.status == Status::Done);
    let found: Vec<&KeyFigures> = done.filter_map(|record| record.found.as_ref()).collect();
    let before: u64 = found.iter().filter_map(|found| found.bytes_before).sum();
    let after: u64 = found.iter().filter_map(|found| found.bytes_after).sum();
    // What they have in common is known to nobody but the plan, which reads them all.
    let plan = match found.len() {
        0 | 1 => String::new(),
        _ => format!("; `lora-slim plan {}` has the flags of a server of them all", OneLine(output.display())),
    };
    format!(
        "{}, {unchanged} of them unchanged; {} → {} in all, see {}{plan}\n",
        plural(jobs, "adapter"),
        bytes(before),
        bytes(after),
        OneLine(output.join("index.html").display())
    )
}
