//! `lora-slim slim`: evaluate, choose, write.

use std::path::{Path, PathBuf};

use super::evaluate;
use super::fetch::Finder;
use super::output::{announce, print, print_json, warn};
use super::page::Page;
use crate::adapter::{Adapter, Capability};
use crate::audit::runtimes::Runtime;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::planned::PlannedOutput;
use crate::cli::settings;
use crate::cli::{SearchArg, SlimArgs};
use crate::error::Result;
use crate::export::{Exporter, Format};
use crate::files::{self, Staging};
use crate::hub::BasePath;
use crate::pipeline;
use crate::pipeline::output::{self, Target};
use crate::pipeline::{Evaluation, Request};
use crate::printable::OneLine;
use crate::report::{Report, text};
use crate::rewrite::steps::PlannedChanges;

pub fn run(args: SlimArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let (json, format, output) = (args.json, args.runtime.format, args.output.clone());
    let slim = ReservedSlim::new(args, finder)?;
    let evaluation = evaluate::run(&slim.plan.request, quiet)?;
    // A table that cannot be printed must not cost the result of a long run: that error comes last.
    let printed = if quiet || json { Ok(()) } else { print(&text::report(&evaluation.report)) };
    let result = slim.write(&evaluation, quiet).and_then(|slimmed| {
        if json {
            print_json(&slimmed.report)?;
        }
        if let Some(output) = output.filter(|_| slimmed.is_written) {
            let loads = text::runtimes::written(&slimmed.report.runtimes, format, &output);
            announce(&format!("written to {}\n{loads}", OneLine(output.display())), json, quiet)?;
        }
        slimmed.verdict.and(printed)
    });
    warn(&evaluation.report);
    result.map(|()| true)
}

/// A run of `slim` whose outputs have their places.
pub struct ReservedSlim {
    pub plan: SlimPlan,
    page: Page,
    /// `None` on a dry run.
    staging: Option<Staging>,
}

/// What came of a run of `slim`.
pub struct SlimmedOutput {
    pub report: Report,
    pub is_written: bool,
    /// Why nothing was written, if the evaluation says so.
    pub verdict: Result<()>,
}

impl ReservedSlim {
    /// Checks the flags, and reserves the places of the page and of the adapter.
    pub fn new(args: SlimArgs, finder: Finder) -> Result<Self> {
        let page = Page::reserve(&args.evaluate, finder, args.output.as_deref(), args.force)?;
        let (output, force) = (args.output.clone().filter(|_| !args.dry_run), args.force);
        let plan = SlimPlan::new(args, finder)?;
        let staging = output.map(|output| plan.reserve(&output, force)).transpose()?;
        Ok(Self { plan, page, staging })
    }

    /// Writes the page and, unless the evaluation refuses it, the adapter.
    pub fn write(self, evaluation: &Evaluation, quiet: bool) -> Result<SlimmedOutput> {
        // The page comes before any refusal, because it says why.
        self.page.write(evaluation, quiet)?;
        let verdict = evaluation.check();
        let staging = self.staging.filter(|_| verdict.is_ok());
        let written = staging.map(|staging| self.plan.write(evaluation, &staging)).transpose()?;
        let is_written = written.is_some();
        let report = written.unwrap_or_else(|| evaluation.report.without_texts());
        Ok(SlimmedOutput { report, is_written, verdict })
    }
}

/// What `slim` will do, checked before the long run, so that it does not fail at its end.
pub struct SlimPlan {
    pub request: Request,
    adapter: PathBuf,
    exporter: Box<dyn Exporter>,
    runtimes: Vec<&'static Runtime>,
    has_card: bool,
}

impl SlimPlan {
    /// The ranks that the first runtime of `--for` has buffers of, if it has buffers of some ranks alone.
    pub fn buffer_ranks(&self) -> Option<&'static [usize]> {
        let ranks = self.runtimes.iter().filter_map(|runtime| Some(runtime.memory.buffers()?.ranks));
        ranks.into_iter().find(|ranks| !ranks.is_empty())
    }

    /// Checks the flags and the places that they name.
    pub fn new(mut args: SlimArgs, finder: Finder) -> Result<Self> {
        if let Some(output) = &args.output {
            args.runtime.format.check_folder_name(output)?;
        }
        let adapter = evaluate::declare_inputs(&args.evaluate, finder)?;
        if let Some(output) = &args.output {
            files::check_output(output, &[], args.force)?;
        }
        evaluate::fetch_base(&args.evaluate, &adapter, finder)?;
        args.evaluate.same_rank |= needs_same_rank(&args, &adapter)?;
        let exporter = exporter(&args, &adapter)?;
        let (runtimes, has_card) = (args.runtime.runtimes.clone(), !args.runtime.no_card);
        let command = args.given.command_line("slim", &args.evaluate.adapter);
        let request = evaluate::request(args.evaluate, &args.runtime, SearchArg::Adaptive)?;
        let request = Request { command: Some(command), ..request };
        Ok(Self { request, adapter, exporter, runtimes, has_card })
    }

    /// The base model that the adapter goes with.
    pub fn base(&self) -> Result<BasePath> {
        pipeline::find_base(self.request.base.as_deref(), &Adapter::open(&self.adapter, None)?)
    }

    /// Reserves the place of an output, so that no other run can take it.
    pub fn reserve(&self, output: &Path, force: bool) -> Result<Staging> {
        Staging::reserve(output, &[&self.adapter], force)
    }

    /// Writes the chosen adapter. Returns the report as it was written.
    pub fn write(&self, evaluation: &Evaluation, staging: &Staging) -> Result<Report> {
        let base = evaluation.known_base()?;
        let runtimes = &self.runtimes;
        let target = Target { staging, exporter: &*self.exporter, base, runtimes, has_card: self.has_card };
        output::write_evaluation(evaluation, &target)
    }
}

/// What writes the adapter, after a check that its format can hold the adapter and that the runtimes of `--for` will load it,
/// wherever the boundary will be.
fn exporter(args: &SlimArgs, path: &Path) -> Result<Box<dyn Exporter>> {
    let (format, runtimes) = (args.runtime.format, &args.runtime.runtimes);
    let find_base = |adapter: &Adapter| pipeline::find_base(args.evaluate.base.as_deref(), adapter);
    if runtimes.is_empty() && format == Format::Peft {
        let planned = PlannedChanges::by(&settings::steps(&args.evaluate.reduce, &args.runtime));
        return format.exporter(|| find_base(&Adapter::open(path, None)?), planned);
    }
    let adapter = Adapter::open(path, None)?;
    let planned = planned_output(args, &adapter);
    planned.require(&adapter, runtimes)?;
    let exporter = format.exporter(|| find_base(&adapter), planned.changes)?;
    exporter.check(&adapter, planned.changes)?;
    Ok(exporter)
}

fn planned_output(args: &SlimArgs, adapter: &Adapter) -> PlannedOutput {
    let steps = settings::steps(&args.evaluate.reduce, &args.runtime);
    let mut changes = PlannedChanges::by(&steps);
    changes.drops_layers = args.evaluate.boundary.is_none_or(|boundary| boundary < adapter.layer_count());
    changes.varies_ranks |= args.evaluate.minimize.is_some() && !args.evaluate.same_rank && !changes.unifies;
    let base = pipeline::find_base(args.evaluate.base.as_deref(), adapter);
    PlannedOutput { changes, format: args.runtime.format, base: BaseFacts::if_readable(base.ok()) }
}

/// Whether a runtime of `--for` reads what `--minimize` makes only if all modules have one rank. Refuses an adapter whose ranks
/// cannot be reduced.
fn needs_same_rank(args: &SlimArgs, path: &Path) -> Result<bool> {
    if args.evaluate.minimize.is_none() {
        return Ok(false);
    }
    let adapter = Adapter::open(path, None)?;
    adapter.require(Capability::ReduceRank)?;
    Ok(planned_output(args, &adapter).require(&adapter, &args.runtime.runtimes).is_err())
}
