//! `lora-slim slim`: evaluate, choose, write.

use std::path::Path;

use super::page::Page;
use super::{evaluate, print};
use crate::base;
use crate::cli::{SearchArg, SlimArgs};
use crate::error::{ChoiceError, Result};
use crate::report::text;
use crate::{files, pipeline};

pub fn run(args: SlimArgs, quiet: bool) -> Result<bool> {
    // Before the long run: an output that cannot be written should not be found out at its end.
    let adapter = base::find(&args.evaluate.adapter, None)?;
    let mut inputs = vec![adapter.as_path(), args.evaluate.samples.as_path()];
    inputs.extend(args.evaluate.test.as_deref());
    inputs.extend(args.evaluate.base.as_deref().map(Path::new).filter(|path| path.exists()));
    files::check_output(&args.output, &inputs, args.force)?;
    let boundary = args.evaluate.boundary;
    let page = Page::reserve(&args.evaluate, Some(&args.output), args.force)?;

    let evaluation = evaluate::run(args.evaluate, &args.runtime, SearchArg::Adaptive, quiet)?;
    if !quiet {
        print(&text::report(&evaluation.report));
    }
    // Before anything is refused: it tells why.
    page.write(&evaluation, quiet)?;
    if evaluation.choice.boundary == 0 {
        if let Some(boundary) = boundary {
            let lowest = evaluation.adapter.layers().first().copied().unwrap_or(0);
            return Err(ChoiceError::KeepsNothing { boundary, lowest }.into());
        }
        return Err(ChoiceError::AdapterDoesNotHelp { rule: evaluation.choice.rule.name() }.into());
    }
    if args.dry_run {
        return Ok(true);
    }
    files::check_output(&args.output, &[&adapter, evaluation.base.path()], args.force)?;
    pipeline::write(&evaluation.cut()?, &evaluation.report, &args.output)?;
    if !quiet {
        print(&format!("written to {}\n", args.output.display()));
    }
    Ok(true)
}
