//! The table of a batch, for the document and as compact data for its script.

use serde::Serialize;
use serde_json::{Value, json};

use crate::files::REPORT_NAME;
use crate::printable::{self, OneLine};
use crate::report::batch::{KeyFigures, Record, Status};
use crate::report::page::filters;

/// A column of numbers: its name, the filter that shows a number, whether narrow screens leave it out, and the number.
type Column = (&'static str, &'static str, bool, fn(&KeyFigures) -> Option<f64>);

const COLUMNS: [Column; 12] = [
    ("layers", "integer", true, |found| Some(found.layers as f64)),
    ("layers kept", "integer", true, |found| found.kept_layers.map(|layers| layers as f64)),
    ("size before", "bytes", true, |found| found.bytes_before.map(|bytes| bytes as f64)),
    ("size after", "bytes", true, |found| found.bytes_after.map(|bytes| bytes as f64)),
    ("size kept", "percent", false, KeyFigures::bytes_kept),
    ("loss, whole", "loss", true, |found| found.loss_whole),
    ("loss", "loss", false, |found| found.loss),
    ("gain kept", "percent", true, |found| found.gain_kept),
    ("tokens correct, whole", "percent", true, |found| found.accuracy_whole),
    ("tokens correct", "percent", false, |found| found.accuracy),
    ("score, whole", "score", true, |found| found.score_whole),
    ("score", "score", false, |found| found.score),
];

/// The columns that the records have numbers for.
#[derive(Serialize)]
pub struct BatchColumns {
    columns: Vec<Heading>,
    /// The codes of all warnings.
    codes: Vec<String>,
    #[serde(skip)]
    numbers: Vec<fn(&KeyFigures) -> Option<f64>>,
}

#[derive(Serialize)]
struct Heading {
    name: String,
    filter: &'static str,
    minor: bool,
}

/// A row of the document.
#[derive(Serialize)]
pub struct BatchRow<'a> {
    name: &'a str,
    link: Option<String>,
    status: &'static str,
    codes: Vec<&'a str>,
    removed: bool,
    error: Option<&'a str>,
    numbers: Vec<Option<f64>>,
}

impl BatchColumns {
    pub fn of(records: &[Record]) -> Self {
        let found = || records.iter().filter_map(|record| record.found.as_ref());
        let has_numbers = |(.., number): &Column| found().any(|found| number(found).is_some());
        let there: Vec<Column> = COLUMNS.into_iter().filter(has_numbers).collect();
        let metrics: std::collections::BTreeSet<&str> = found().filter_map(|found| found.metric.as_deref()).collect();
        // The name of the score if all have the same.
        let metric = metrics.first().filter(|_| metrics.len() == 1);
        let heading = |&(name, filter, minor, _): &Column| {
            let name = metric.map_or(name.to_string(), |metric| name.replace("score", metric));
            Heading { name, filter, minor }
        };
        let codes = records.iter().flat_map(codes).collect::<std::collections::BTreeSet<_>>();
        Self {
            columns: there.iter().map(heading).collect(),
            codes: codes.into_iter().map(Into::into).collect(),
            numbers: there.into_iter().map(|(.., number)| number).collect(),
        }
    }

    pub fn row<'a>(&self, record: &'a Record) -> BatchRow<'a> {
        BatchRow {
            name: &record.name,
            link: link(record),
            status: record.status.name(),
            codes: codes(record).collect(),
            removed: record.removed,
            error: record.error.as_deref(),
            numbers: self.numbers(record).collect(),
        }
    }

    fn numbers(&self, record: &Record) -> impl Iterator<Item = Option<f64>> {
        self.numbers.iter().map(|number| number(record.found.as_ref()?))
    }

    /// All records in this order as JSON that can stand in an element of a page: per record its name, link, status, codes (by their
    /// places), error, whether its input is gone, and its numbers with the digits that are shown.
    pub fn data(&self, records: &[&Record]) -> String {
        let row = |record: &&Record| {
            let codes: Vec<usize> =
                codes(record).filter_map(|code| self.codes.iter().position(|one| one == code)).collect();
            let error = record.error.as_ref().map(|error| json!(printable::message(error)));
            let head = [
                json!(OneLine(&record.name).to_string()),
                short_link(record),
                json!(record.status.name()),
                json!(codes),
                error.unwrap_or(json!(0)),
                json!(u8::from(record.removed)),
            ];
            let filters = self.columns.iter().map(|column| column.filter);
            head.into_iter()
                .chain(self.numbers(record).zip(filters).map(|(number, filter)| rounded(number, filter)))
                .collect()
        };
        let rows: Vec<Value> = records.iter().map(row).collect();
        let data = json!({ "columns": self.columns, "codes": self.codes, "rows": rows }).to_string();
        // Nothing in it can end the element that it is in.
        printable::json(&data).replace('<', "\\u003c")
    }
}

fn rounded(number: Option<f64>, filter: &str) -> Value {
    let digits = match filter {
        "integer" | "bytes" => 1.0,
        "score" => 10.0,
        _ => 10000.0,
    };
    match number.map(|number| (number * digits).round()) {
        Some(number) if digits == 1.0 => json!(number as u64),
        Some(number) => json!(number / digits),
        None => Value::Null,
    }
}

fn codes(record: &Record) -> impl Iterator<Item = &str> {
    let codes = record.warnings.iter().enumerate();
    let is_first = |(place, code): &(usize, &crate::report::Warning)| {
        record.warnings[..*place].iter().all(|earlier| earlier.code != code.code)
    };
    codes.filter(is_first).map(|(_, warning)| warning.code.as_str())
}

/// The page of an adapter if there is one, else the report beside it.
fn link(record: &Record) -> Option<String> {
    let report = || format!("{}/{REPORT_NAME}", record.name);
    record.page.clone().or_else(|| (record.status == Status::Done).then(report))
}

/// A link as the script reads it: nothing, what follows the name, or a whole address.
fn short_link(record: &Record) -> Value {
    let Some(link) = link(record) else { return json!(0) };
    let is_plain = link.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    match link.strip_prefix(&record.name).filter(|_| is_plain) {
        Some(".html") => json!(1),
        Some(_) => json!(2),
        None => json!(filters::address(&link)),
    }
}
