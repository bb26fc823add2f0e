//! What `slim` and `scan` share: from flags to an evaluation, with progress for the user.

use std::path::{Path, PathBuf};

use super::fetch::Finder;
use crate::choice::subset::Grain;
use crate::choice::{Basis, Limits};
use crate::cli::progress::TerminalProgress;
use crate::cli::settings;
use crate::cli::{EvaluateArgs, RuntimeArgs, SearchArg};
use crate::error::{FileError, Result};
use crate::files::inputs;
use crate::measure::ComputeOptions;
use crate::model::device::DeviceName;
use crate::pipeline::request::{DEFAULT_MEMORY, Refinement, SampleOptions};
use crate::pipeline::{self, Evaluation, Request};
use crate::samples::places;
use crate::samples::read::ReadOptions;
use crate::samples::{EncodeOptions, FieldNames, TemplateOptions};
use crate::search::SearchOptions;

/// Evaluates, and shows progress on standard error.
pub fn run(request: &Request, quiet: bool) -> Result<Evaluation> {
    let progress = TerminalProgress::new(quiet);
    let evaluation = pipeline::evaluate(request, &mut |step| progress.step(step));
    progress.finish();
    evaluation
}

/// Puts what the flags name on the list of inputs before anything is read, so that an output in one of them ends the
/// command before the long run and not after it. An adapter that is not on this machine is fetched. Returns its
/// place.
pub fn declare_inputs(args: &EvaluateArgs, finder: Finder) -> Result<PathBuf> {
    let adapter = finder.adapter(&args.adapter)?;
    inputs::declare(&adapter);
    let test = args.test.as_deref().filter(|path| !args.passed.contains_key(*path));
    let samples = places::on_disk(&args.samples, &args.passed).chain(test);
    let samples = samples.map(|path| places::check_exists(path).map(|()| path)).collect::<Result<Vec<_>>>()?;
    for path in samples.into_iter().chain(args.tokenizer.as_deref()).chain(args.chat_template.as_deref()) {
        path.metadata().map_err(FileError::read(path))?;
        inputs::declare(path);
    }
    // A command line of the shell; the words that are files are the program and what it reads.
    let words = args.answers.scorer.iter().flat_map(|command| command.split_whitespace());
    words.for_each(|word| inputs::declare(Path::new(word.trim_matches(['"', '\'']))));
    pipeline::base_of(&adapter, args.base.as_deref());
    Ok(adapter)
}

/// Fetches the base model if it is not on this machine, after a look at the flags that make the request.
pub fn fetch_base(args: &EvaluateArgs, adapter: &Path, finder: Finder) -> Result<()> {
    settings::choice_options(args)?;
    settings::held_out(args)?;
    settings::minimize(args, args.search.unwrap_or(SearchArg::Adaptive))?;
    settings::scoring(&args.answers, args.own_answers)?;
    let device: DeviceName = args.device.parse()?;
    settings::arithmetic(args.precision, device)?;
    finder.base(args.base.as_deref(), adapter)?;
    pipeline::base_of(adapter, args.base.as_deref());
    Ok(())
}

/// The request that the flags make. `search` is the kind of search if the flags name none.
pub fn request(args: EvaluateArgs, runtime: &RuntimeArgs, search: SearchArg) -> Result<Request> {
    let choice = settings::choice_options(&args)?;
    // Limits, slices and the standard error of the lowest loss need the losses of all boundaries.
    let has_limits = choice.limits != Limits::default() && choice.rule.basis() == Basis::Losses;
    // So does a rule that may step over what fails, and looks for answers everywhere.
    let looks_everywhere = choice.score.is_some() && choice.guard.is_none() && !choice.rule.descends();
    let needs_all = args.minimize.is_none()
        && (has_limits || choice.slice_by.is_some() || looks_everywhere || !choice.rule.drops_early(&choice));
    // A user who names the boundary wants to see its cost among the others.
    let search = if args.boundary.is_some() { SearchArg::Exhaustive } else { search };
    let search = args.search.unwrap_or(search);
    let minimize = settings::minimize(&args, search)?.map(Refinement::Minimize);
    // The sizes take the place of the boundaries, of which two are enough: none and all.
    let search = if minimize.is_some() { SearchArg::Adaptive } else { search };
    let refinement = match search {
        _ if minimize.is_some() => minimize,
        SearchArg::Adaptive | SearchArg::Exhaustive => None,
        SearchArg::Window => Some(Refinement::Window),
        SearchArg::Subset => Some(Refinement::Subset(Grain::Layers)),
        SearchArg::Blocks => Some(Refinement::Subset(Grain::Blocks)),
    };
    let search = (search != SearchArg::Exhaustive && !needs_all).then(SearchOptions::default);
    let device: DeviceName = args.device.parse()?;
    Ok(Request {
        search,
        choice,
        refinement,
        scaling: args.scale,
        controls: args.controls,
        probability: args.probability,
        steps: settings::steps(&args.reduce, runtime),
        scoring: settings::scoring(&args.answers, args.own_answers)?,
        arithmetic: settings::arithmetic(args.precision, device)?,
        compute: ComputeOptions { memory: args.memory.unwrap_or(DEFAULT_MEMORY), device: device.open()? },
        samples: SampleOptions {
            held_out: settings::held_out(&args)?,
            encode: EncodeOptions { chat: args.chat, scored: settings::scored_part(&args), ..Default::default() },
            paths: args.samples,
            read: ReadOptions {
                passed: args.passed,
                fields: FieldNames {
                    prompt_field: args.prompt_field,
                    completion_field: args.completion_field,
                    slice_field: args.slice_by,
                },
                split: args.split,
                prompts: args.own_answers,
            },
            tokenizer: args.tokenizer,
            template: TemplateOptions { file: args.chat_template, date: args.date.unwrap_or_default() },
            most: args.max_samples.map(|count| count as usize),
            truncate: args.truncate,
            own_answers: args.own_answers,
            ignore_end: args.answers.ignore_end,
            quote: args.report.is_some(),
        },
        gates: args.gates.gates,
        adapter: args.adapter,
        command: None,
        base: args.base,
        stack: args.stack,
    })
}
