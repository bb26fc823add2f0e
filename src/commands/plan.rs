//! `lora-slim plan`: what servers allocate for adapters, and the options that make them allocate no more.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{CommandResult, Document};
use super::fetch::Finder;
use super::output::{print, print_json};
use crate::adapter::{Adapter, config};
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::planned::PlannedOutput;
use crate::audit::runtimes::verdict::LoadReason;
use crate::audit::runtimes::{RUNTIMES, Runtime};
use crate::audit::serving::{FleetMember, PlannedAdapter, ServedAdapter, ServerSetup, ServingPlan};
use crate::batch::jobs;
use crate::cli::PlanArgs;
use crate::error::{BaseError, Result};
use crate::hub::BasePath;
use crate::pipeline;
use crate::report::text::serving as text;
use crate::report::warnings::{Finding, NOT_PLANNED, Warning};

/// What `--json` writes.
#[derive(Serialize, JsonSchema)]
pub struct PlanResult {
    /// The base model, as it was found.
    base: String,
    runtimes: Vec<ServingPlan>,
}

impl CommandResult for PlanResult {
    fn warnings(&self) -> Vec<Warning> {
        let of_adapters = |plan: &ServingPlan| {
            let problem =
                |adapter: &PlannedAdapter| Some(format!("{}: {}", adapter.adapter, adapter.problem.as_ref()?));
            plan.adapters.iter().filter_map(problem).collect::<Vec<_>>()
        };
        let problems = self.runtimes.iter().flat_map(|plan| plan.problem.iter().cloned().chain(of_adapters(plan)));
        problems.map(|problem| Finding::new(problem).coded(NOT_PLANNED)).collect()
    }
}

pub fn run(args: PlanArgs, finder: Finder) -> Result<bool> {
    let found = find_adapters(&args.adapters, finder)?;
    let (_, first) = &found[0];
    finder.base_config(args.base.as_deref(), first)?;
    let base = pipeline::find_base(args.base.as_deref(), &open(first, &args)?)?;
    let facts = read_base(&base)?;
    let runtimes: Vec<&'static Runtime> = match args.runtime.is_empty() {
        true => RUNTIMES.into_iter().filter(|runtime| runtime.memory.buffers().is_some()).collect(),
        false => args.runtime.clone(),
    };
    let mut fleets: Vec<Vec<FleetMember>> = runtimes.iter().map(|_| Vec::new()).collect();
    for (name, path) in &found {
        let adapter = open(path, &args)?;
        if args.base.is_none() {
            check_base(&adapter, first, &base)?;
        }
        let unmet = PlannedOutput { base: facts.clone(), ..Default::default() }.unmet(&adapter, &runtimes);
        for (runtime, fleet) in runtimes.iter().zip(&mut fleets) {
            let unmet = unmet.iter().find(|(other, _)| other.name == runtime.name);
            fleet.push(member(name, &adapter, unmet.map(|(_, reason)| reason.clone())));
        }
    }
    let setup = ServerSetup { value_bytes: args.dtype.bytes(), given: args.given.as_deref() };
    let plans = runtimes.iter().zip(&fleets).map(|(runtime, fleet)| ServingPlan::new(runtime, &facts, fleet, setup));
    let result = PlanResult { base: base.path().display().to_string(), runtimes: plans.collect() };
    match args.json {
        true => print_json(&Document::of(&result))?,
        false => print(&text::plans(&result.runtimes))?,
    }
    Ok(result.runtimes.iter().all(ServingPlan::holds))
}

/// The adapters that the user names, and those in the folders that hold several.
fn find_adapters(names: &[String], finder: Finder) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for name in names {
        let path = finder.adapter(name)?;
        if !path.is_dir() || path.join(config::FILE_NAME).exists() {
            found.push((name.clone(), path));
            continue;
        }
        let jobs = jobs::below(&path)?.jobs.into_iter();
        found.extend(jobs.map(|job| (job.adapter.clone(), job.adapter.into())));
    }
    Ok(found)
}

fn open(path: &Path, args: &PlanArgs) -> Result<Adapter> {
    pipeline::open_adapter(path, None, args.base.as_deref())
}

/// An error if an adapter names another base model than the first one does. Two names may lead to one place.
fn check_base(adapter: &Adapter, first: &Path, base: &BasePath) -> Result<()> {
    let name = adapter.config.text("base_model_name_or_path").unwrap_or_default();
    match pipeline::find_base(None, adapter) {
        Ok(found) if found == *base => Ok(()),
        _ => {
            let (adapter, first) = (adapter.path.clone(), first.into());
            Err(BaseError::Another { adapter, name: name.into(), first }.into())
        }
    }
}

/// A GGUF file does not tell which class of a server runs the model.
fn read_base(base: &BasePath) -> Result<BaseFacts> {
    match base {
        BasePath::Folder(_) => BaseFacts::of(base),
        BasePath::Gguf(path) => {
            let reason = "a plan needs the config.json of the model that is served".into();
            Err(BaseError::NotAModel { path: path.clone(), reason }.into())
        }
    }
}

fn member(name: &str, adapter: &Adapter, unmet: Option<LoadReason>) -> FleetMember {
    let (served, tensor_bytes) = (ServedAdapter::of(adapter), adapter.bytes_below(usize::MAX));
    FleetMember { name: name.into(), served, unmet, tensor_bytes }
}
