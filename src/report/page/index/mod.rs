//! The page of a batch: failures first, and a row for each adapter with a link to its report.
//!
//! The first rows are in the document, where they can be read without the script. All of them are in it once more as data, in a
//! fraction of the bytes, from which the script draws rows when they are looked at, searched and sorted.

mod data;
mod histogram;

use std::collections::BTreeMap;

use minijinja::value::{Serde, Value};
use minijinja::{Error, context};
use serde::Serialize;

use super::filters::plural;
use crate::error::{PageError, Result};
use crate::report::batch::{KeyFigures, Record, Status};
use data::BatchColumns;

/// How many rows are in the document itself.
const ROWS: usize = 200;

/// The whole page. It fails where the template does not fit the records, which is a bug.
pub fn page(records: &[Record]) -> Result<String> {
    Ok(render(records).map_err(PageError)?)
}

fn render(records: &[Record]) -> std::result::Result<String, Error> {
    let environment = super::templates()?;
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| (rank(record.status), &record.name));
    let headline = headline(records);
    let columns = BatchColumns::of(records);
    let sum = |of: fn(&KeyFigures) -> Option<u64>| {
        let done = records.iter().filter(|record| record.status == Status::Done);
        done.filter_map(|record| of(record.found.as_ref()?)).sum::<u64>()
    };
    let (before, after) = (sum(|found| found.bytes_before), sum(|found| found.bytes_after));
    let context = context! {
        headline => headline.as_str(),
        is_bad => count(records, Status::Failed) > 0,
        before,
        after,
        saved => (before > 0).then(|| 1.0 - after as f64 / before as f64),
        left_out => count(records, Status::LeftOut),
        warnings => Serde(warnings(records)),
        warned => records.iter().filter(|record| !record.warnings.is_empty()).count(),
        histogram => Serde(histogram::charts(records)),
        histogram_readouts => histogram::readouts(records),
        columns => Serde(&columns),
        rows => Serde(sorted.iter().take(ROWS).map(|record| columns.row(record)).collect::<Vec<_>>()),
        all => records.len(),
        data => (records.len() > ROWS).then(|| Value::from_safe_string(columns.data(&sorted))),
    };
    let main = environment.get_template("index")?.render(context)?;
    super::document(&environment, &headline, &[super::CHARTS, include_str!("../index.js")], main)
}

/// Failures come first.
fn rank(status: Status) -> usize {
    match status {
        Status::Failed => 0,
        Status::Refused => 1,
        Status::Done => 2,
        Status::LeftOut => 3,
    }
}

fn count(records: &[Record], status: Status) -> usize {
    records.iter().filter(|record| record.status == status).count()
}

/// `9 of 12 adapters done, 2 failed, 1 refused`
fn headline(records: &[Record]) -> String {
    let of = |status| count(records, status);
    let done = format!("{} of {} done", of(Status::Done), plural(records.len() - of(Status::LeftOut), "adapter", None));
    let others = [(of(Status::Failed), "failed"), (of(Status::Refused), "refused")];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    done + &others.map(|(count, status)| format!(", {count} {status}")).collect::<String>()
}

/// A kind of warning of a batch.
#[derive(Debug, Serialize)]
struct WarningKind<'a> {
    code: &'a str,
    adapters: usize,
    /// The sentence of the first adapter that has it, and this adapter.
    sentence: &'a str,
    first: &'a str,
}

/// The kinds of warnings, the most frequent first.
fn warnings(records: &[Record]) -> Vec<WarningKind<'_>> {
    let mut kinds: BTreeMap<&str, WarningKind> = BTreeMap::new();
    for record in records {
        for (place, warning) in record.warnings.iter().enumerate() {
            let (code, sentence) = (warning.code.as_str(), warning.sentence.as_str());
            let kind = kinds.entry(code).or_insert(WarningKind { code, adapters: 0, sentence, first: &record.name });
            let is_first = record.warnings[..place].iter().all(|earlier| earlier.code != warning.code);
            kind.adapters += usize::from(is_first);
        }
    }
    let mut kinds: Vec<WarningKind> = kinds.into_values().collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.adapters));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileError;

    /// A batch in which every tenth adapter failed.
    fn records(count: usize) -> Vec<Record> {
        let record = |number: usize| {
            let name = format!("team/adapter-{number:05}");
            let path = std::path::PathBuf::from("in");
            let error = FileError::NotAFile { path, kind: "a </script> device" }.into();
            let failed = Record::failed(&name, "in/a", &error, "stamp".into());
            if number % 10 == 5 {
                return failed;
            }
            let found = KeyFigures {
                layers: 30,
                kept_layers: Some(25),
                bytes_before: Some(2_441_216),
                bytes_after: Some(1_999_872 - number as u64),
                loss_base: Some(4.303_312_345),
                loss_whole: Some(2.716_612_345),
                loss: Some(2.608_312_345),
                gain_kept: Some(1.068_212_345),
                ..KeyFigures::default()
            };
            Record { status: Status::Done, exit_code: 0, error: None, hint: None, found: Some(found), ..failed }
        };
        (0..count).map(record).collect()
    }

    #[test]
    fn failures_come_first_and_are_counted() {
        let page = page(&records(20)).unwrap();
        assert!(page.contains("<h1 class=\"bad\">18 of 20 adapters done, 2 failed</h1>"), "{page}");
        assert!(page.find("adapter-00015") < page.find("adapter-00000"));
        assert!(!page.contains("id=\"rows\""), "all of them are in the document");
    }

    #[test]
    fn a_large_batch_is_compact() {
        let (count, page) = (10_000, page(&records(10_000)).unwrap());
        assert!(page.len() < 140 * count, "{} bytes a row", page.len() / count);
        let data = page.split("id=\"rows\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let rows = data["rows"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0][2], &rows[count - 1][2]), (count, &"failed".into(), &"done".into()));
        assert!(rows[0][4].as_str().is_some_and(|error| error.contains("</script>")), "{}", rows[0]);
    }
}
