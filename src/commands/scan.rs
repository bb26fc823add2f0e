//! `lora-slim scan`: the loss at every boundary.

use super::evaluate;
use super::fetch::Finder;
use super::output::{print, print_json, warn};
use super::page::Page;
use crate::choice::gates;
use crate::cli::{RuntimeArgs, ScanArgs, SearchArg};
use crate::error::Result;
use crate::pipeline::{Evaluation, Request};
use crate::report::text;

pub fn run(args: ScanArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let page = Page::reserve(&args.evaluate, finder, None, args.force)?;
    let adapter = evaluate::declare_inputs(&args.evaluate, finder)?;
    evaluate::fetch_base(&args.evaluate, &adapter, finder)?;
    let json = args.json;
    let request = request(args)?;
    let evaluation = evaluate::run(&request, quiet)?;
    let result = show(&evaluation, json, page, quiet);
    warn(&evaluation.report);
    result.map(|()| true)
}

/// What the flags ask for.
pub fn request(args: ScanArgs) -> Result<Request> {
    let command = args.given.command_line("scan", &args.evaluate.adapter);
    let request = evaluate::request(args.evaluate, &RuntimeArgs::default(), SearchArg::Exhaustive)?;
    Ok(Request { command: Some(command), ..request })
}

/// Prints the curve and writes the page.
fn show(evaluation: &Evaluation, json: bool, page: Page, quiet: bool) -> Result<()> {
    let printed = match json {
        true => print_json(&evaluation.report),
        // Warnings say it otherwise.
        false if quiet => print(&(text::report(&evaluation.report) + &text::remarks(&evaluation.report))),
        false => print(&text::report(&evaluation.report)),
    };
    page.write(evaluation, quiet)?;
    printed?;
    gates::check(&evaluation.report.gates)
}
