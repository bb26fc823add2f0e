//! `lora-slim check`: whether an adapter is complete, and which runtimes load it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{CommandResult, Document};
use super::fetch::Finder;
use super::output::{print, print_json};
use crate::adapter::{Adapter, Side};
use crate::audit::examine::{Examination, KnownBase, examine};
use crate::audit::flaws::Flaw;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::listing::Listing;
use crate::audit::runtimes::{self, LoadOutcome, RUNTIMES, Remedy, Runtime, RuntimeVerdict};
use crate::audit::serving::{ServedAdapter, SlotMemory};
use crate::cli::CheckArgs;
use crate::error::Result;
use crate::export::Format;
use crate::hub::BasePath;
use crate::pipeline;
use crate::report::text::runtimes as text;
use crate::report::warnings::{Finding, POSSIBLY_WRONG_ADAPTER, WRONG_ADAPTER, Warning};

/// What `--json` writes.
#[derive(Serialize, JsonSchema)]
pub struct CheckResult {
    adapter: String,
    format: String,
    /// What is wrong with the adapter itself.
    flaws: Vec<ReportedFlaw>,
    /// What kind of base model it is for, where that limits what can be done with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    runtimes: Vec<RuntimeVerdict>,
    /// What servers with buffers allocate for it, of those that load it; absent where it is not known for its base model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    serving: Vec<SlotMemory>,
    #[serde(skip)]
    form: Format,
    /// Whether it is complete, and all runtimes load it that were asked for.
    #[serde(skip)]
    pub passes: bool,
}

#[derive(Serialize, JsonSchema)]
struct ReportedFlaw {
    what: String,
    /// Whether it is a mistake in any case.
    certain: bool,
}

impl CommandResult for CheckResult {
    fn warnings(&self) -> Vec<Warning> {
        let code = |flaw: &ReportedFlaw| if flaw.certain { WRONG_ADAPTER } else { POSSIBLY_WRONG_ADAPTER };
        self.flaws.iter().map(|flaw| Finding::new(&flaw.what).coded(code(flaw))).collect()
    }
}

pub fn run(args: CheckArgs, finder: Finder) -> Result<bool> {
    let Some(name) = &args.adapter else {
        let listed = if args.json { print_json(&Document::of(&Listing::new())) } else { print(&text::list()) };
        return listed.map(|()| true);
    };
    let checked = check(&args, name, finder)?;
    if args.json {
        print_json(&Document::of(&checked))?;
    } else {
        let flaws: Vec<(bool, &str)> = checked.flaws.iter().map(|flaw| (flaw.certain, flaw.what.as_str())).collect();
        print(&text::checked(checked.form, &flaws, &checked.notes, &checked.runtimes, &checked.serving))?;
    }
    Ok(checked.passes)
}

/// Checks the adapter that the user calls `name`.
pub fn check(args: &CheckArgs, name: &str, finder: Finder) -> Result<CheckResult> {
    let path = finder.adapter(name)?;
    finder.named_base(args.base.as_deref())?;
    let asked: &[&'static Runtime] = if args.runtime.is_empty() { &RUNTIMES } else { &args.runtime };
    let format = Format::of_path(&path);
    let Checked { examination: Examination { flaws, runtimes }, notes, serving } = match format {
        Format::Peft => check_folder(args, &path, asked)?,
        format => {
            let examination = Examination { flaws: Vec::new(), runtimes: check_form(format, asked) };
            Checked { examination, notes: Vec::new(), serving: Vec::new() }
        }
    };
    let is_complete = flaws.iter().all(Flaw::may_be_meant);
    let all_load = runtimes.len() == asked.len() && runtimes.iter().all(|one| one.verdict == LoadOutcome::Loads);
    let is_loaded = args.runtime.is_empty() || all_load;
    let flaws = flaws.iter().map(|flaw| ReportedFlaw { what: flaw.to_string(), certain: !flaw.may_be_meant() });
    Ok(CheckResult {
        adapter: name.into(),
        format: format.to_string(),
        flaws: flaws.collect(),
        notes,
        runtimes,
        serving,
        form: format,
        passes: is_complete && is_loaded,
    })
}

/// What runtimes make of an adapter in another format. `fix` reads that of MLX.
fn check_form(format: Format, asked: &[&'static Runtime]) -> Vec<RuntimeVerdict> {
    let mut verdicts = runtimes::check_format(format, asked);
    let unread = verdicts.iter_mut().flat_map(|verdict| &mut verdict.reasons);
    for reason in unread.filter(|reason| format == Format::Mlx && reason.outcome != LoadOutcome::Loads) {
        reason.remedy = Remedy::Fix.words();
    }
    verdicts
}

/// What was found of an adapter.
struct Checked {
    examination: Examination,
    notes: Vec<String>,
    serving: Vec<SlotMemory>,
}

fn check_folder(args: &CheckArgs, path: &Path, asked: &[&'static Runtime]) -> Result<Checked> {
    let adapter = pipeline::open_adapter(path, args.stack.as_deref(), args.base.as_deref())?;
    let base = match &args.base {
        Some(name) => KnownBase::open(&BasePath::find(name, None)?)?,
        // The base model that the adapter names, if it is on this machine.
        None => BaseFacts::if_readable(pipeline::find_base(None, &adapter).ok()).into(),
    };
    let examination = examine(&adapter, &base, asked)?;
    let served = ServedAdapter::of(&adapter);
    let slot = |verdict: &RuntimeVerdict| {
        let runtime = Runtime::by_name(verdict.name).filter(|_| verdict.verdict == LoadOutcome::Loads)?;
        SlotMemory::of(runtime, &base.facts, served.as_ref()?)
    };
    let serving = examination.runtimes.iter().filter_map(slot).collect();
    let notes = notes(&adapter, &base.facts, asked);
    Ok(Checked { examination, notes, serving })
}

/// What an encoder beside the decoder limits.
fn notes(adapter: &Adapter, base: &BaseFacts, asked: &[&'static Runtime]) -> Vec<String> {
    if !adapter.is_of_encoder_and_decoder() {
        return Vec::new();
    }
    // Another base model may have been named.
    let named = base.family.as_ref().filter(|_| !base.sides.is_empty());
    let family = named.map_or(String::new(), |family| format!(" ({family})"));
    let sides = adapter
        .other_side()
        .map_or(String::new(), |(side, _)| format!(", or those of the {side} with `--stack {side}`"));
    let own = Side::of(&adapter.stack).map_or("decoder", Side::name);
    let can = format!(
        "the adapter is of a model with an encoder and a decoder{family}: `lora-slim cut --boundary N` drops layers of the {own}{sides}; `slim` and \
         `scan` do not evaluate it"
    );
    let unknown: Vec<&str> = asked.iter().filter(|one| !one.is_known_for(adapter)).map(|one| one.name).collect();
    let unknown = (!unknown.is_empty()).then(|| format!("not known of such models: {}", unknown.join(", ")));
    [can].into_iter().chain(unknown).collect()
}
