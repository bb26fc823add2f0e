//! `lora-slim slim`: evaluate, choose, write.

use std::path::Path;

use super::page::Page;
use super::{evaluate, print};
use crate::adapter::Adapter;
use crate::adapter::export::{Form, Format};
use crate::adapter::steps::Step;
use crate::base;
use crate::cli::{SearchArg, SlimArgs};
use crate::error::{ChoiceError, Result};
use crate::report::text;
use crate::runtimes::wanted::Wanted;
use crate::{files, pipeline, settings};

pub fn run(args: SlimArgs, quiet: bool) -> Result<bool> {
    // Before the long run: an output that cannot be written should not be found out at its end.
    args.runtime.format.check_folder_name(&args.output)?;
    let adapter = base::find(&args.evaluate.adapter, None)?;
    let mut inputs = vec![adapter.as_path(), args.evaluate.samples.as_path()];
    inputs.extend(args.evaluate.test.as_deref());
    inputs.extend(args.evaluate.base.as_deref().map(Path::new).filter(|path| path.exists()));
    files::check_output(&args.output, &inputs, args.force)?;
    let boundary = args.evaluate.boundary;
    let form = form_of(&args, &adapter)?;
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
    let written = pipeline::write(&evaluation.cut()?, &evaluation.report, &form, &args.output)?;
    if !quiet {
        let loads = text::runtimes::written(&written.runtimes, form.format(), &args.output);
        print(&format!("written to {}\n{loads}", args.output.display()));
    }
    Ok(true)
}

/// The form to write, after a look at whether the adapter has it and the runtimes of `--for` will load it, wherever the boundary
/// will be.
fn form_of(args: &SlimArgs, path: &Path) -> Result<Form> {
    let format = args.runtime.format;
    if args.runtime.runtimes.is_empty() && format == Format::Peft {
        return Ok(Form::Peft);
    }
    let adapter = Adapter::open(path, None)?;
    let steps = settings::steps(&args.evaluate.reduce, &args.runtime);
    let drops_layers = args.evaluate.boundary.is_none_or(|boundary| boundary < adapter.layer_count());
    Wanted::of(&steps, format).require(&adapter, drops_layers, &args.runtime.runtimes)?;
    let form = Form::new(format, || pipeline::find_base(args.evaluate.base.as_deref(), &adapter))?;
    form.check(&adapter, steps.contains(&Step::Portable))?;
    Ok(form)
}
