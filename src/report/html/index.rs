//! The page of a batch: a row for each adapter, which sorts by any column, and a link to each report.

use super::element::{Element, el};
use super::words::{self, plural};
use super::{BEGINNING, STYLE, column, document, paragraph, part, scrolling};
use crate::files::REPORT_NAME;
use crate::report::batch::{Found, Record, Status};

const SCRIPT: &str = include_str!("index.js");

/// The columns: class, heading.
const COLUMNS: [(&str, &str); 8] = [
    ("", "adapter"),
    ("", "status"),
    ("number", "layers kept"),
    ("number", "size before"),
    ("number", "size after"),
    ("number", "loss, whole"),
    ("number", "loss, kept"),
    ("number", "gain kept"),
];

/// The whole page.
pub fn page(records: &[Record]) -> String {
    let headline = headline(records);
    let sections = [summary(&headline, records), table(records)].into_iter().chain(failures(records));
    format!("{BEGINNING}\n{}\n", document(&headline, STYLE, SCRIPT, el("main").all(sections)))
}

fn headline(records: &[Record]) -> String {
    let done = records.iter().filter(|record| record.status == Status::Done).count();
    format!("{done} of {} done", plural(records.len(), "adapter"))
}

fn summary(headline: &str, records: &[Record]) -> Element {
    let done = records.iter().filter(|record| record.status == Status::Done);
    let found: Vec<&Found> = done.filter_map(|record| record.found.as_ref()).collect();
    let sum = |of: fn(&Found) -> Option<u64>| found.iter().filter_map(|found| of(found)).sum::<u64>();
    let (before, after) = (sum(|found| found.bytes_before), sum(|found| found.bytes_after));
    let saved = match before {
        0 => "Nothing was written.".into(),
        _ => {
            let bytes = crate::format::bytes;
            let share = words::percent_text(1.0 - after as f64 / before as f64);
            format!("Of {} of tensors, {} are left: {share} saved.", bytes(before), bytes(after))
        }
    };
    el("section").attr("id", "summary").add(el("h1").text(headline)).add(paragraph("lead", saved))
}

fn table(records: &[Record]) -> Element {
    let head = COLUMNS.iter().fold(el("tr"), |row, (class, name)| row.add(column(class, name)));
    let rows = records.iter().map(row);
    let table = el("table").class("sortable").add(el("thead").add(head)).add(el("tbody").all(rows));
    part("adapters", "All adapters").add(scrolling("all adapters", table))
}

fn row(record: &Record) -> Element {
    let cell = |content: Element| el("td").class("number").add(content);
    let found = record.found.as_ref();
    let number = |of: fn(&Found) -> Option<f64>, show: fn(f64) -> Element| {
        cell(found.and_then(of).map_or(el("span").text("—"), show))
    };
    let size = |of: fn(&Found) -> Option<u64>| cell(found.and_then(of).map_or(el("span").text("—"), words::bytes));
    let row = if record.status == Status::Done { el("tr") } else { el("tr").class("faint") };
    row.add(el("th").attr("scope", "row").add(name(record)))
        .add(el("td").text(status(record)))
        .add(cell(found.map_or(el("span").text("—"), layers)))
        .add(size(|found| found.bytes_before))
        .add(size(|found| found.bytes_after))
        .add(number(|found| found.loss_whole, words::loss))
        .add(number(|found| found.loss, words::loss))
        .add(number(|found| found.gain_kept, words::percent))
}

fn layers(found: &Found) -> Element {
    match found.kept_layers {
        Some(kept) => el("data").attr("value", kept).text(format!("{kept} of {}", found.layers)),
        None => el("span").text("—"),
    }
}

/// The name, which leads to the page if there is one, else to the report beside the adapter.
fn name(record: &Record) -> Element {
    let text = el("bdi").text(&record.name);
    let report = || format!("{}/{REPORT_NAME}", record.name);
    let target = record.page.clone().or_else(|| (record.status == Status::Done).then(report));
    match target {
        Some(target) => el("a").attr("href", address(&target)).add(text),
        None => text,
    }
}

fn status(record: &Record) -> String {
    let removed = if record.removed { ", input removed" } else { "" };
    let notes = match record.notes.len() {
        0 => String::new(),
        count => format!(", {}", plural(count, "note")),
    };
    format!("{}{notes}{removed}", record.status.name())
}

/// What went wrong, and what is to be known.
fn failures(records: &[Record]) -> Option<Element> {
    let told = records.iter().filter(|record| record.error.is_some() || !record.notes.is_empty());
    let items: Vec<Element> = told
        .flat_map(|record| {
            let texts = record.error.iter().chain(&record.notes);
            std::iter::once(el("dt").add(el("bdi").text(&record.name))).chain(texts.map(|text| el("dd").text(text)))
        })
        .collect();
    (!items.is_empty()).then(|| part("notes", "What to know").add(el("dl").class("notes").all(items)))
}

/// A relative path as an address: what is not a plain character is written by its bytes.
fn address(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    // Before a name such as `a:b`, which would be a scheme.
    std::iter::once("./".to_string()).chain(path.bytes().map(escape)).collect()
}
