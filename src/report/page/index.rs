//! The page of a batch: a row for each adapter, which sorts by any column, and a link to each report.

use minijinja::value::Serde;
use minijinja::{Error, context};

use super::filters::plural;
use crate::error::{PageError, Result};
use crate::files::REPORT_NAME;
use crate::report::batch::{KeyFigures, Record, Status};

/// The whole page. It fails where the template does not fit the records, which is a bug.
pub fn page(records: &[Record]) -> Result<String> {
    Ok(render(records).map_err(PageError)?)
}

fn render(records: &[Record]) -> std::result::Result<String, Error> {
    let environment = super::templates()?;
    let done = || records.iter().filter(|record| record.status == Status::Done);
    let sum = |of: fn(&KeyFigures) -> Option<u64>| done().filter_map(|record| of(record.found.as_ref()?)).sum::<u64>();
    let adapters = records.iter().filter(|record| record.status != Status::LeftOut).count();
    let headline = format!("{} of {} done", done().count(), plural(adapters, "adapter", None));
    let (before, after) = (sum(|found| found.bytes_before), sum(|found| found.bytes_after));
    let saved = (before > 0).then(|| 1.0 - after as f64 / before as f64);
    let links: Vec<_> = records.iter().map(link).collect();
    let context = context! { headline => headline.as_str(), before, after, saved, links, records => Serde(records) };
    let main = environment.get_template("index")?.render(context)?;
    super::document(&environment, &headline, &[include_str!("index.js")], main)
}

/// The page of an adapter if there is one, else the report beside it.
fn link(record: &Record) -> Option<String> {
    let report = || format!("{}/{REPORT_NAME}", record.name);
    record.page.clone().or_else(|| (record.status == Status::Done).then(report))
}
