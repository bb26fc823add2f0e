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
    let page = Page::reserve(&args.evaluate, finder, Some(&args.output), args.force)?;
    let (dry_run, json) = (args.dry_run, args.json);
    let plan = SlimPlan::new(args, finder)?;
    let staging = if dry_run { None } else { Some(plan.reserve()?) };
    let evaluation = evaluate::run(&plan.request, quiet)?;
    let result = conclude(&plan, &evaluation, Outputs { page, staging, json }, quiet);
    warn(&evaluation.report);
    result.map(|()| true)
}

/// Where the results of a run go.
struct Outputs {
    page: Page,
    /// `None` on a dry run.
    staging: Option<Staging>,
    json: bool,
}

/// Prints the report, and writes the page and the adapter.
fn conclude(plan: &SlimPlan, evaluation: &Evaluation, outputs: Outputs, quiet: bool) -> Result<()> {
    let Outputs { page, staging, json } = outputs;
    // A table that cannot be printed must not cost the result of a long run: that error comes last.
    let printed = if quiet || json { Ok(()) } else { print(&text::report(&evaluation.report)) };
    // The page comes before any refusal, because it says why.
    page.write(evaluation, quiet)?;
    let verdict = evaluation.check();
    let staging = staging.filter(|_| verdict.is_ok());
    let written = staging.map(|staging| plan.write(evaluation, &staging)).transpose()?;
    if json {
        print_json(written.as_ref().unwrap_or(&evaluation.report.without_texts()))?;
    }
    if let Some(written) = &written {
        let loads = text::runtimes::written(&written.runtimes, plan.exporter.format(), &plan.output);
        announce(&format!("written to {}\n{loads}", OneLine(plan.output.display())), json, quiet)?;
    }
    verdict.and(printed)
}

/// What `slim` will do, checked before the long run, so that it does not fail at its end.
pub struct SlimPlan {
    pub request: Request,
    adapter: PathBuf,
    exporter: Box<dyn Exporter>,
    output: PathBuf,
    force: bool,
    runtimes: Vec<&'static Runtime>,
}

impl SlimPlan {
    /// The ranks that the first runtime of `--for` has buffers of, if it has buffers of some ranks alone.
    pub fn buffer_ranks(&self) -> Option<&'static [usize]> {
        let ranks = self.runtimes.iter().filter_map(|runtime| Some(runtime.memory.buffers()?.ranks));
        ranks.into_iter().find(|ranks| !ranks.is_empty())
    }

    /// Checks the flags and the places that they name.
    pub fn new(mut args: SlimArgs, finder: Finder) -> Result<Self> {
        args.runtime.format.check_folder_name(&args.output)?;
        let adapter = evaluate::declare_inputs(&args.evaluate, finder)?;
        files::check_output(&args.output, &[], args.force)?;
        evaluate::fetch_base(&args.evaluate, &adapter, finder)?;
        args.evaluate.same_rank |= needs_same_rank(&args, &adapter)?;
        let exporter = exporter(&args, &adapter)?;
        let runtimes = args.runtime.runtimes.clone();
        let request = evaluate::request(args.evaluate, &args.runtime, SearchArg::Adaptive)?;
        Ok(Self { request, adapter, exporter, output: args.output, force: args.force, runtimes })
    }

    /// The base model that the adapter goes with.
    pub fn base(&self) -> Result<BasePath> {
        pipeline::find_base(self.request.base.as_deref(), &Adapter::open(&self.adapter, None)?)
    }

    /// Reserves the place of the output, so that no other run can take it.
    pub fn reserve(&self) -> Result<Staging> {
        Staging::reserve(&self.output, &[&self.adapter], self.force)
    }

    /// Writes the chosen adapter. Returns the report as it was written.
    pub fn write(&self, evaluation: &Evaluation, staging: &Staging) -> Result<Report> {
        let base = evaluation.known_base()?;
        let target = Target { staging, exporter: &*self.exporter, base, runtimes: &self.runtimes };
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
