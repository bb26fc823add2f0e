//! `lora-slim check`: whether an adapter is complete, and which runtimes load it.

use std::path::Path;

use candle_core::Device;
use serde::Serialize;

use super::output::{print, print_json};
use crate::adapter::Adapter;
use crate::audit::flaws::Flaw;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::facts::AdapterFacts;
use crate::audit::runtimes::{self, LoadOutcome, RUNTIMES, Runtime, RuntimeVerdict};
use crate::cli::CheckArgs;
use crate::error::{BaseError, Error, Result};
use crate::export::Format;
use crate::hub::{self, BasePath};
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::pipeline;
use crate::report::text::runtimes as text;
use crate::rewrite::steps::PlannedChanges;

/// What `--json` writes.
#[derive(Serialize)]
struct CheckResult {
    adapter: String,
    format: String,
    /// What is wrong with the adapter itself.
    flaws: Vec<ReportedFlaw>,
    runtimes: Vec<RuntimeVerdict>,
}

#[derive(Serialize)]
struct ReportedFlaw {
    what: String,
    /// Whether it is a mistake in any case.
    certain: bool,
}

pub fn run(args: CheckArgs) -> Result<bool> {
    let Some(name) = &args.adapter else {
        return print(&text::list()).map(|()| true);
    };
    let path = hub::find(name, None)?;
    let asked: &[&'static Runtime] = if args.runtime.is_empty() { &RUNTIMES } else { &args.runtime };
    let format = Format::of_path(&path);
    let (flaws, runtimes) = match format {
        Format::Peft => check_folder(&args, &path, asked)?,
        format => (Vec::new(), runtimes::check_format(format, asked)),
    };
    let is_complete = flaws.iter().all(Flaw::may_be_meant);
    let is_loaded = args.runtime.is_empty() || runtimes.iter().all(|runtime| runtime.verdict == LoadOutcome::Loads);
    let flaws = flaws.iter().map(|flaw| ReportedFlaw { what: flaw.to_string(), certain: !flaw.may_be_meant() });
    let checked = CheckResult { adapter: name.clone(), format: format.to_string(), flaws: flaws.collect(), runtimes };
    if args.json {
        print_json(&checked)?;
    } else {
        let flaws: Vec<(bool, &str)> = checked.flaws.iter().map(|flaw| (flaw.certain, flaw.what.as_str())).collect();
        print(&text::checked(format, &flaws, &checked.runtimes))?;
    }
    Ok(is_complete && is_loaded)
}

fn check_folder(args: &CheckArgs, path: &Path, asked: &[&'static Runtime]) -> Result<(Vec<Flaw>, Vec<RuntimeVerdict>)> {
    let adapter = Adapter::open(path, args.stack.as_deref())?;
    let base = args.base.as_ref().map(|name| BasePath::find(name, None)).transpose()?;
    let mut known = match &base {
        Some(base) => BaseFacts::of(base)?,
        // The base model that the adapter names, if it is on this machine.
        None => BaseFacts::if_readable(pipeline::find_base(None, &adapter).ok()),
    };
    let mut flaws = Vec::new();
    if let Some(base) = base {
        match Model::open(&base, &Device::Cpu, Arithmetic::F32) {
            Ok((model, _)) => {
                known.layers = Some(model.config.layers);
                known.vocabulary = Some(model.config.vocab_size);
                known.family.get_or_insert(model.config.family.model_types[0].into());
                flaws.extend(model.check_fits(&adapter).err().map(|error| Flaw::Base(error.to_string())));
            }
            // The model cannot be run, but its configuration still gives the layers.
            Err(Error::Base(
                BaseError::UnsupportedFamily { .. }
                | BaseError::UnsupportedFeature { .. }
                | BaseError::Quantised { .. },
            )) => {}
            Err(error) => return Err(error),
        }
    }
    flaws.extend(adapter.flaws(&known)?);
    let facts = AdapterFacts::new(&adapter, &known, PlannedChanges::default());
    Ok((flaws, runtimes::check(&facts, asked)))
}
