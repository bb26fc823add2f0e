//! `lora-slim slim`: evaluate, choose, write.

use std::path::Path;

use super::page::Page;
use super::{evaluate, print};
use crate::adapter::Adapter;
use crate::adapter::export::Format;
use crate::base;
use crate::cli::{SearchArg, SlimArgs};
use crate::error::{ChoiceError, Result};
use crate::report::text;
use crate::runtimes::wanted::Wanted;
use crate::{files, pipeline, settings};

pub fn run(args: SlimArgs, quiet: bool) -> Result<bool> {
    // Before the long run: an output that cannot be written should not be found out at its end.
    let adapter = base::find(&args.evaluate.adapter, None)?;
    let mut inputs = vec![adapter.as_path(), args.evaluate.samples.as_path()];
    inputs.extend(args.evaluate.test.as_deref());
    inputs.extend(args.evaluate.base.as_deref().map(Path::new).filter(|path| path.exists()));
    files::check_output(&args.output, &inputs, args.force)?;
    let boundary = args.evaluate.boundary;
    require_runtimes(&args, &adapter)?;
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
    let written = pipeline::write(&evaluation.cut()?, &evaluation.report, &args.output)?;
    if !quiet {
        let loads = text::runtimes::written(&written.runtimes, &args.output);
        print(&format!("written to {}\n{loads}", args.output.display()));
    }
    Ok(true)
}

/// Whether the runtimes of `--for` will load what is to be written, wherever the boundary will be.
fn require_runtimes(args: &SlimArgs, path: &Path) -> Result<()> {
    if args.runtime.runtimes.is_empty() {
        return Ok(());
    }
    let adapter = Adapter::open(path, None)?;
    let steps = settings::steps(&args.evaluate.reduce, &args.runtime);
    let drops_layers = args.evaluate.boundary.is_none_or(|boundary| boundary < adapter.layer_count());
    Wanted::of(&steps, Format::Peft).require(&adapter, drops_layers, &args.runtime.runtimes)
}
