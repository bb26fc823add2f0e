//! The stages put together: the only module that knows all of them.

mod describe;
mod held_out;
mod metrics;
mod prepare;

use std::path::{Path, PathBuf};

use crate::adapter::keys::is_of_tower;
use crate::adapter::{Adapter, Cut};
use crate::base::{self, BasePath};
use crate::choice::stability::stability;
use crate::choice::{self, Choice};
use crate::error::{BaseError, ChoiceError, Result};
use crate::files;
use crate::kernel::Arithmetic;
use crate::model::{Ends, Model};
use crate::report::{ChoiceOptions, Report, SCHEMA_VERSION, Tool, WorkDone};
use crate::samples::{ReadOptions, Sample};
use crate::search::{self, Dropped};
use crate::settings::{self, HeldOutFrom};
use crate::sweep::{self, Curve, Watch};

/// Everything that an evaluation needs to know.
#[derive(Debug)]
pub struct Request {
    /// A folder, or a name in the Hugging Face cache.
    pub adapter: String,
    /// A folder, a GGUF file or a name; `None` for the one that the adapter names.
    pub base: Option<String>,
    pub samples: PathBuf,
    /// Samples that check the choice and have no part in it.
    pub held_out: Option<HeldOutFrom>,
    pub read: ReadOptions,
    pub chat: bool,
    pub tokenizer: Option<PathBuf>,
    pub max_samples: Option<usize>,
    pub truncate: bool,
    /// Whether the report may hold words of the samples.
    pub texts: bool,
    pub choice: choice::Options,
    /// Adaptive with these options, or exhaustive.
    pub search: Option<search::Options>,
    /// How generated answers are scored, if at all.
    pub scoring: Option<settings::Scoring>,
    pub limits: settings::Limits,
    pub arithmetic: Arithmetic,
    pub sweep: sweep::Options,
}

/// An adapter, evaluated: what is known of every boundary, and the one to cut at.
pub struct Evaluation {
    pub adapter: Adapter,
    pub base: BasePath,
    pub curve: Curve,
    pub choice: Choice,
    pub report: Report,
}

/// Reads everything, runs the sweep and chooses.
pub fn evaluate(request: &Request, watch: Watch) -> Result<Evaluation> {
    let adapter = Adapter::open(&base::find(&request.adapter, None)?, None)?;
    adapter.check_can_be_evaluated()?;
    let base = find_base(request, &adapter)?;
    warn_of_towers(&adapter);
    let (model, gguf) = Model::open(&base, &request.sweep.device, request.arithmetic)?;
    model.check_fits(&adapter)?;
    check_boundary(request, &model)?;
    let ends = Ends::load(&model, &adapter)?;
    let inputs = prepare::prepare(request, &ends, gguf.as_ref())?;
    let tasks = metrics::tasks(&inputs, &ends, request)?;
    let choosing = &inputs.choosing;
    // The whole adapter is the measure of every other boundary, so all candidates are evaluated, limits or not.
    let candidates = sweep::candidates(&adapter);
    let samples = &choosing.samples;
    let (curve, dropped) = curve_of(&ends, samples, request, &mut *watch)?;
    let allowed = |boundary: usize| within(&request.limits, &adapter, boundary);
    if !candidates.iter().any(|&boundary| boundary > 0 && allowed(boundary)) {
        return Err(limit_too_small(&request.limits, &adapter).into());
    }
    let choice = choice::choose(&curve, &request.choice, allowed);
    let held_out = match &inputs.held_out {
        Some(held_out) => Some(held_out::check(choice.boundary, held_out, &ends, request, &mut *watch)?),
        None => None,
    };
    let metrics = match &tasks {
        Some(tasks) => Some(metrics::measure(tasks, &curve, &choice, &ends, request, watch)?),
        None => None,
    };
    let output = match choice.boundary {
        0 => None,
        boundary => Some(describe::output(&adapter, &Cut::below(&adapter, boundary)?)),
    };
    let report = Report {
        schema_version: SCHEMA_VERSION,
        tool: Tool::THIS,
        adapter: describe::adapter(&request.adapter, &adapter)?,
        base: Some(describe::base(request, &adapter, &model)?),
        samples: Some(choosing.description.clone()),
        options: Some(ChoiceOptions {
            rule: request.choice.rule,
            margin: request.choice.margin,
            confidence: request.choice.confidence,
            one_standard_error: request.choice.one_standard_error,
            max_layers: request.limits.max_layers,
            max_bytes: request.limits.max_bytes,
        }),
        curve: describe::curve(&curve, &adapter, &request.choice),
        dropped: dropped.iter().map(describe::dropped).collect(),
        work: Some(WorkDone {
            passes: curve.work.passes,
            layer_tokens: curve.work.layer_tokens,
            exhaustive_layer_tokens: sweep::exhaustive_work(&ends, samples, &request.sweep)?,
            error_probability: request.search.map(|options| options.error),
        }),
        chosen: Some(choice.clone()),
        stability: stability(&curve, &request.choice, allowed),
        held_out,
        metrics,
        output,
        layers: describe::layers(&adapter, choice.boundary)?,
        changed: describe::changed(choosing, &curve, choice.boundary),
    };
    Ok(Evaluation { adapter, base, curve, choice, report })
}

/// The curve of one adapter, and what a search dropped from it.
fn curve_of(ends: &Ends, samples: &[Sample], request: &Request, watch: Watch) -> Result<(Curve, Vec<Dropped>)> {
    let ends = std::slice::from_ref(ends);
    let mut found = match request.search {
        Some(options) => search::run(ends, samples, &request.choice, options, &request.sweep, watch)?,
        None => {
            let curves = sweep::sweep(ends, samples, &request.sweep, watch)?;
            curves.into_iter().map(|curve| (curve, Vec::new())).collect()
        }
    };
    Ok(found.remove(0))
}

/// Writes a cut that was not evaluated, and the report of it. The input is hashed while it is copied: one takes about
/// as long as the other.
pub fn write_cut(name: &str, adapter: &Adapter, cut: &Cut, output: &Path) -> Result<Report> {
    let staging = files::Staging::beside(output)?;
    let (report, written) = rayon::join(|| report_of_cut(name, adapter, cut), || cut.write(&staging));
    written?;
    let report = report?;
    staging.json(crate::report::REPORT_NAME, &report)?;
    staging.publish()?;
    Ok(report)
}

fn report_of_cut(name: &str, adapter: &Adapter, cut: &Cut) -> Result<Report> {
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        tool: Tool::THIS,
        adapter: describe::adapter(name, adapter)?,
        base: None,
        samples: None,
        options: None,
        curve: Vec::new(),
        dropped: Vec::new(),
        work: None,
        chosen: None,
        stability: Vec::new(),
        held_out: None,
        metrics: None,
        output: Some(describe::output(adapter, cut)),
        layers: Vec::new(),
        changed: Vec::new(),
    })
}

/// Writes a cut and its report as a new folder: all of it, or nothing.
pub fn write(cut: &Cut, report: &Report, output: &Path) -> Result<()> {
    let staging = files::Staging::beside(output)?;
    cut.write(&staging)?;
    staging.json(crate::report::REPORT_NAME, &report.without_texts())?;
    staging.publish()
}

fn find_base(request: &Request, adapter: &Adapter) -> Result<BasePath> {
    match &request.base {
        Some(name) => BasePath::find(name, None),
        None => {
            let name = adapter.config.text("base_model_name_or_path");
            let name = name.ok_or_else(|| BaseError::Unnamed { adapter: adapter.path.clone() })?;
            BasePath::find(name, adapter.config.text("revision"))
        }
    }
}

fn warn_of_towers(adapter: &Adapter) {
    let modules = adapter.modules();
    if let Some(module) = modules.keys().find(|module| adapter.layer_of(module).is_none() && is_of_tower(module)) {
        tracing::warn!(
            "text does not go through `{module}` and others of its stack: they are kept, and the losses do not know them"
        );
    }
}

fn check_boundary(request: &Request, model: &Model) -> Result<()> {
    let layers = model.config.layers;
    match request.choice.boundary {
        Some(boundary) if boundary == 0 || boundary > layers => {
            Err(ChoiceError::OutOfRange { boundary, layers }.into())
        }
        _ => Ok(()),
    }
}

fn within(limits: &settings::Limits, adapter: &Adapter, boundary: usize) -> bool {
    let layers = adapter.layers().range(..boundary).count();
    limits.max_layers.is_none_or(|most| layers <= most)
        && limits.max_bytes.is_none_or(|most| adapter.bytes_below(boundary) <= most)
}

fn limit_too_small(limits: &settings::Limits, adapter: &Adapter) -> ChoiceError {
    let first = adapter.layers().first().map_or(0, |layer| layer + 1);
    let (limit, smallest) = match limits.max_bytes {
        Some(most) if adapter.bytes_below(first) > most => {
            (format!("`--max-bytes {most}`"), format!("{} bytes", adapter.bytes_below(first)))
        }
        _ => (format!("`--max-layers {}`", limits.max_layers.unwrap_or(0)), "1 layer".into()),
    };
    ChoiceError::LimitTooSmall { limit, smallest }
}
