//! From the choice to the output: the cut, the steps after it, and the folder with its report.

use std::path::Path;
use std::sync::Arc;

use super::chain::{Chain, MeasuredSamples};
use super::describe::{self, Hashing};
use super::evaluator::Candidate;
use super::{Evaluation, Request};
use crate::adapter::Adapter;
use crate::audit::examine::{KnownBase, examine};
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::{self, RUNTIMES, Runtime, RuntimeVerdict, planned};
use crate::audit::serving::SlotMemory;
use crate::choice::gates::{self, Gates};
use crate::error::Result;
use crate::export::{Exporter, Format};
use crate::files::{self, Scratch, Staging};
use crate::hub::BasePath;
use crate::hub::name::HubName;
use crate::measure::{OnProgress, Profile};
use crate::model::{Family, Model};
use crate::printable::OneLine;
use crate::report::{Output, Report, StepDone, card};
use crate::rewrite::Cut;
use crate::rewrite::dead_weight::BaseWeights;
use crate::rewrite::sidecars::LARGEST_SIDECAR;
use crate::rewrite::steps::SharedStep;
use crate::rewrite::write::Notes;

/// The part of an adapter that is written.
pub struct Selection {
    pub profile: Profile,
    scale: f64,
    /// The adapter as it was measured, if more than layers and scale differ.
    rewritten: Option<Arc<Chain>>,
    family: &'static Family,
}

impl Selection {
    pub fn new(candidate: &Candidate, model: &Model) -> Self {
        let (profile, scale) = (candidate.selection.clone(), candidate.scale);
        Self { profile, scale, rewritten: candidate.rewritten.clone(), family: model.config.family }
    }

    pub fn cut<'a>(&self, adapter: &'a Adapter) -> Result<Cut<'a>> {
        let keeps = |layer, module: &str| self.profile.at(layer).in_module(module, self.family) != 0.0;
        Cut::keeping(adapter, keeps)?.scaled(self.scale)
    }
}

/// An adapter after the cut and its steps; empty if nothing is to be written.
#[derive(Default)]
pub struct Rewritten {
    pub output: Option<Output>,
    /// The adapters after the cut and each step, if there are steps.
    pub chain: Option<Arc<Chain>>,
    pub steps: Vec<StepDone>,
}

impl Rewritten {
    /// What servers with buffers allocate for it.
    pub fn serving(&self, adapter: &Adapter, selection: &Selection, base: &BasePath) -> Result<Vec<SlotMemory>> {
        if self.output.is_none() {
            return Ok(Vec::new());
        }
        let cut = match &self.chain {
            Some(chain) => Cut::whole(chain.last())?,
            None => selection.cut(adapter)?,
        };
        Ok(describe::serving(&BaseFacts::if_readable(Some(base.clone())), adapter, &cut))
    }
}

/// Cuts an adapter and applies the requested steps, each evaluated on all `sets` of samples.
pub fn make(
    adapter: &Adapter,
    selection: &Selection,
    model: &Model,
    sets: &[MeasuredSamples],
    request: &Request,
    on_progress: OnProgress,
) -> Result<Rewritten> {
    if selection.profile.layers().is_empty() {
        return Ok(Rewritten::default());
    }
    if let Some(chain) = &selection.rewritten {
        let steps = chain.describe_last(sets)?;
        let last = Cut::whole(chain.last())?;
        let (tensors_after, bytes_after) = (last.kept_size().0, chain.bytes());
        let output = Output { tensors_after, bytes_after, ..describe::output(adapter, &selection.cut(adapter)?) };
        return Ok(Rewritten { output: Some(output), chain: Some(chain.clone()), steps });
    }
    let cut = selection.cut(adapter)?;
    let mut output = describe::output(adapter, &cut);
    if request.steps.is_empty() {
        return Ok(Rewritten { output: Some(output), ..Rewritten::default() });
    }
    let chain = Chain::make(adapter, &cut, &request.steps, BaseWeights::Known(model))?;
    let steps = chain.evaluate(model, sets, request, on_progress)?;
    (output.tensors_after, output.bytes_after) = (Cut::whole(chain.last())?.kept_size().0, chain.bytes());
    Ok(Rewritten { output: Some(output), chain: Some(Arc::new(chain)), steps })
}

/// Where an adapter is written, in which format, and for which runtimes.
pub struct Target<'a> {
    /// The folder that is being written.
    pub staging: &'a Staging,
    pub exporter: &'a dyn Exporter,
    /// What is known of the base model.
    pub base: KnownBase,
    /// The runtimes that have to load it; if one does not, nothing is written.
    pub runtimes: &'a [&'static Runtime],
    /// Whether README.md, and the header of the weights, say what it is.
    pub has_card: bool,
}

impl Target<'_> {
    /// What the header of the weights says.
    fn notes(&self, report: &Report) -> Notes {
        if self.has_card { card::notes(report) } else { Notes::new() }
    }
}

/// Writes what was chosen for an adapter, and its report, which it returns as it was written.
pub fn write_evaluation(evaluation: &Evaluation, target: &Target) -> Result<Report> {
    let written = write(&evaluation.cut()?, &evaluation.report, target);
    written.map_err(|error| error.about(&evaluation.adapter.path))
}

/// A cut that is written without being evaluated.
pub struct UnevaluatedCut<'a> {
    /// The adapter as the user named it, for the report.
    pub name: &'a str,
    /// The command line that gives the same result.
    pub command: String,
    pub adapter: &'a Adapter,
    pub cut: &'a Cut<'a>,
    pub steps: &'a [SharedStep],
    pub gates: &'a Gates,
    pub target: &'a Target<'a>,
}

impl UnevaluatedCut<'_> {
    /// Writes the cut after its steps, and the report of it. Where a gate does not hold, the report says so and nothing is
    /// written.
    pub fn write(&self) -> Result<Report> {
        let written = match (self.steps, self.target.exporter.format()) {
            ([], Format::Peft) => self.copy(),
            ([], _) => self.write_gated(self.cut, self.report(Hashing::Now)?),
            _ => self.write_steps(),
        };
        written.map_err(|error| error.about(&self.adapter.path))
    }

    fn report(&self, hashes: Hashing) -> Result<Report> {
        let output = Some(describe::output(self.adapter, self.cut));
        let remarks = self.adapter.remarks.clone();
        let serving = describe::serving(&self.target.base.facts, self.adapter, self.cut);
        let command = Some(self.command.clone());
        Ok(Report {
            command,
            output,
            remarks,
            serving,
            ..Report::of(describe::adapter(self.name, self.adapter, hashes)?)
        })
    }

    fn write_gated(&self, cut: &Cut, report: Report) -> Result<Report> {
        let report = report.judged_by(self.gates).warned();
        if gates::check(&report.gates).is_ok() { write(cut, &report, self.target) } else { Ok(report) }
    }

    fn write_steps(&self) -> Result<Report> {
        let chain = Chain::make(self.adapter, self.cut, self.steps, self.target.base.weights())?;
        let last = Cut::whole(chain.last())?;
        let mut report = self.report(Hashing::Now)?;
        report.steps = chain.describe()?;
        if let Some(output) = &mut report.output {
            (output.tensors_after, output.bytes_after) = (last.kept_size().0, chain.bytes());
        }
        report.serving = describe::serving(&self.target.base.facts, self.adapter, &last);
        self.adapter.weights.check_unchanged()?;
        self.write_gated(&last, report)
    }

    /// The input is hashed while it is copied: one takes about as long as the other. The header gets the hash at the end. What was
    /// written is examined while the disk takes it.
    fn copy(&self) -> Result<Report> {
        let staging = self.target.staging;
        let mut report = self.report(Hashing::Later)?.judged_by(self.gates).warned();
        let hash = || describe::adapter(self.name, self.adapter, Hashing::Now);
        let notes = self.target.notes(&report);
        let (hashed, written) = rayon::join(hash, || self.cut.write_unsynced(staging, &notes));
        report.adapter = hashed?;
        if gates::check(&report.gates).is_err() {
            return Ok(report);
        }
        written?;
        self.cut.replace_notes(staging, &self.target.notes(&report))?;
        let (synced, runtimes) = rayon::join(|| self.cut.sync(staging), || runtimes_of(self.cut.stack(), self.target));
        synced?;
        report.runtimes = runtimes?;
        publish(self.cut, &report, self.target)?;
        Ok(report)
    }
}

/// Checks the input a last time: a report about other bytes than those that were read must not be published.
fn publish(cut: &Cut, report: &Report, target: &Target) -> Result<()> {
    let staging = target.staging;
    match target.has_card {
        true => write_card(cut.adapter(), report, staging)?,
        false => remove_card(staging)?,
    }
    staging.json(crate::files::REPORT_NAME, report)?;
    cut.check_input_unchanged()?;
    staging.publish()
}

/// Adds the model card to the README that was copied, if one was.
fn write_card(adapter: &Adapter, report: &Report, staging: &Staging) -> Result<()> {
    let name = staging.find(card::FILE_NAME)?.unwrap_or_else(|| card::FILE_NAME.into());
    let Some(readme) = read_readme(staging, &name)? else {
        tracing::warn!("`{}` of the adapter is not UTF-8 text: the output has no card", OneLine(&name));
        return Ok(());
    };
    let base = base_on_hub(adapter);
    staging.replace(&name, card::card(report, &readme, base.as_deref()).as_bytes())
}

/// Takes the card of an earlier run out of the README that was copied: it describes another adapter.
pub(super) fn remove_card(staging: &Staging) -> Result<()> {
    let Some(name) = staging.find(card::FILE_NAME)? else { return Ok(()) };
    let readme = read_readme(staging, &name)?.unwrap_or_default();
    match card::without_card(&readme) {
        Some(rest) => staging.replace(&name, rest.as_bytes()),
        None => Ok(()),
    }
}

/// A README that was copied, or an empty one; `None` if it is not UTF-8.
fn read_readme(staging: &Staging, name: &str) -> Result<Option<String>> {
    let path = staging.path().join(name);
    let readme = if path.exists() { files::read_up_to(&path, LARGEST_SIDECAR)? } else { Vec::new() };
    Ok(String::from_utf8(readme).ok())
}

/// The repository that the adapter names as its base model, if it is one of the hub.
fn base_on_hub(adapter: &Adapter) -> Option<String> {
    let name = adapter.config.text("base_model_name_or_path").filter(|name| !Path::new(name).exists())?;
    let parsed = HubName::parse(name).filter(|parsed| parsed.has_organisation() && parsed.file.is_none())?;
    Some(parsed.repository)
}

/// Writes a cut and its report, as a new folder, which it publishes: all of it, or nothing. Gives back the report as it lies there.
fn write(cut: &Cut, report: &Report, target: &Target) -> Result<Report> {
    let (mut report, format, staging) = (report.without_texts(), target.exporter.format(), target.staging);
    report.runtimes = match format {
        Format::Peft => {
            cut.write_with(staging, &target.notes(&report))?;
            runtimes_of(cut.stack(), target)?
        }
        _ => {
            export(cut, target.exporter, staging)?;
            report.serving.clear();
            runtimes::check_format(format, &RUNTIMES)
        }
    };
    if let Some(output) = &mut report.output {
        output.format = Some(format).filter(|&format| format != Format::Peft);
    }
    publish(cut, &report, target)?;
    Ok(report)
}

/// Other formats are converted from the PEFT folder that would have been written. That folder is temporary, so that only the
/// requested format is published.
fn export(cut: &Cut, exporter: &dyn Exporter, staging: &Staging) -> Result<()> {
    let folder = Scratch::new()?;
    let peft = Staging::in_scratch(&folder, "peft")?;
    cut.write(&peft)?;
    exporter.write(&Adapter::open(peft.path(), Some(cut.stack()))?, staging)
}

/// Opens the adapter that was written, as any reader would, and checks which runtimes load it; an error if a required one does
/// not.
fn runtimes_of(stack: &str, target: &Target) -> Result<Vec<RuntimeVerdict>> {
    let written = Adapter::open(target.staging.path(), Some(stack))?;
    let verdicts = examine(&written, &target.base, &RUNTIMES)?.runtimes;
    planned::check_written(target.staging.path(), &verdicts, target.runtimes)?;
    Ok(verdicts)
}
