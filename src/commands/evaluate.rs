//! What `slim` and `scan` share: from flags to an evaluation, with progress and notes for the user.

use super::notes::notes;
use crate::cli::progress::TerminalProgress;
use crate::cli::settings;
use crate::cli::settings::Grain;
use crate::cli::{EvaluateArgs, RuntimeArgs, SearchArg};
use crate::error::Result;
use crate::model::device::DeviceName;
use crate::pipeline::{self, Evaluation, Request};
use crate::samples::FieldNames;
use crate::{measure, search};

/// Evaluates, and shows progress and notes on standard error.
pub fn run(request: &Request, quiet: bool) -> Result<Evaluation> {
    let progress = TerminalProgress::new(quiet);
    let evaluation = pipeline::evaluate(request, &mut |step| progress.step(step));
    progress.finish();
    let evaluation = evaluation?;
    for note in notes(request, &evaluation) {
        tracing::warn!("{note}");
    }
    Ok(evaluation)
}

/// The request that the flags make. `search` is the kind of search if the flags name none.
pub fn request(args: EvaluateArgs, runtime: &RuntimeArgs, search: SearchArg) -> Result<Request> {
    let choice = settings::choice_options(&args)?;
    // Limits and the standard error of the lowest loss need the losses of all boundaries.
    let has_limits = (args.max_layers.is_some() || args.max_bytes.is_some()) && !choice.rule.needs_no_losses();
    let needs_all = has_limits || choice.one_standard_error;
    // A user who names the boundary wants to see its cost among the others.
    let search = if args.boundary.is_some() { SearchArg::Exhaustive } else { search };
    let search = args.search.unwrap_or(search);
    let subset = match search {
        SearchArg::Adaptive | SearchArg::Exhaustive => None,
        SearchArg::Subset => Some(Grain::Layers),
        SearchArg::Blocks => Some(Grain::Blocks),
    };
    let search = (search != SearchArg::Exhaustive && !needs_all).then(search::SearchOptions::default);
    let device: DeviceName = args.device.parse()?;
    Ok(Request {
        search,
        choice,
        scaling: args.scale,
        subset,
        controls: args.controls,
        steps: settings::steps(&args.reduce, runtime),
        probability: args.probability,
        held_out: settings::held_out(&args)?,
        scoring: settings::scoring(&args),
        gates: settings::gates(&args.gates)?,
        limits: settings::Limits { max_layers: args.max_layers, max_bytes: args.max_bytes },
        arithmetic: settings::arithmetic(args.precision, device)?,
        sweep: measure::ComputeOptions {
            memory: args.memory.unwrap_or(settings::DEFAULT_MEMORY),
            device: device.open()?,
        },
        adapter: args.adapter,
        base: args.base,
        samples: args.samples,
        read: FieldNames { prompt_field: args.prompt_field, completion_field: args.completion_field },
        chat: args.chat,
        tokenizer: args.tokenizer,
        max_samples: args.max_samples.map(|count| count as usize),
        truncate: args.truncate,
        texts: args.report.is_some(),
    })
}
