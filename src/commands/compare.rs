//! `lora-slim compare`: reports side by side.

use super::document::{CommandResult, Document};
use super::output::{print, print_json, remark};
use crate::cli::CompareArgs;
use crate::error::Result;
use crate::files::{NewFile, inputs};
use crate::printable::OneLine;
use crate::report::compare::ReportComparison;
use crate::report::page;
use crate::report::text;

impl CommandResult for ReportComparison {}

pub fn run(args: CompareArgs, quiet: bool) -> Result<bool> {
    args.reports.iter().for_each(|path| inputs::declare(path));
    let reserve = |path| NewFile::beside(path, page::BEGINNING.as_bytes(), args.force);
    let page = args.page.as_deref().map(reserve).transpose()?;
    let comparison = ReportComparison::read(&args.reports)?;
    if let Some(file) = page {
        let place = format!("comparison in {}\n", OneLine(file.target().display()));
        file.publish(page::compare::page(&comparison)?.as_bytes())?;
        remark(&place, quiet);
    }
    match args.json {
        true => print_json(&Document::of(&comparison))?,
        false => print(&text::compare::comparison(&comparison))?,
    }
    Ok(true)
}
