//! `lora-slim scan`: the curve, for eyes or for programs.

use super::page::Page;
use super::{evaluate, print, print_json};
use crate::choice::gates;
use crate::cli::{RuntimeArgs, ScanArgs, SearchArg};
use crate::error::Result;
use crate::report::text;

pub fn run(args: ScanArgs, quiet: bool) -> Result<bool> {
    let page = Page::reserve(&args.evaluate, None, args.force)?;
    let request = evaluate::request(args.evaluate, &RuntimeArgs::default(), SearchArg::Exhaustive)?;
    let evaluation = evaluate::run(&request, quiet)?;
    if args.json {
        print_json(&evaluation.report);
    } else {
        print(&text::report(&evaluation.report));
    }
    page.write(&evaluation, quiet)?;
    gates::check(&evaluation.report.gates)?;
    Ok(true)
}
