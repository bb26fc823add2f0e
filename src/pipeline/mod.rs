//! The stages put together: the only module that knows all of them.

mod alternatives;
mod choosing;
mod describe;
mod held_out;
mod metrics;
mod prepare;
mod scale;
mod steps;
mod subset;
mod written;

use std::path::PathBuf;

use crate::adapter::keys::is_of_tower;
use crate::adapter::steps::Step;
use crate::adapter::{Adapter, Cut};
use crate::base::{self, BasePath};
use crate::choice::{self, Choice};
use crate::error::{BaseError, ChoiceError, Result};
use crate::kernel::Arithmetic;
use crate::model::{Ends, Model};
use crate::report::{ChoiceOptions, Report, WorkDone};
use crate::samples::ReadOptions;
use crate::search;
use crate::settings::{self, Grain, HeldOutFrom, Scaling};
use crate::sweep::{self, Curve, Watch};
use alternatives::Given;
use choosing::Chosen;
use steps::Chain;
use written::Written;
pub use written::{write, write_cut};

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
    /// What is kept may be scaled, too.
    pub scaling: Option<Scaling>,
    /// Whether parts below the boundary may go, too.
    pub subset: Option<Grain>,
    /// Whether other layers are tried for comparison.
    pub controls: bool,
    /// Whether the probability curve is wanted even if it does not choose.
    pub probability: bool,
    /// Adaptive with these options, or exhaustive.
    pub search: Option<search::Options>,
    /// How generated answers are scored, if at all.
    pub scoring: Option<settings::Scoring>,
    pub limits: settings::Limits,
    /// What is done with the cut adapter.
    pub steps: Vec<Step>,
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
    written: Written,
    /// What the steps made of the cut adapter, if there are any.
    chain: Option<Chain>,
}

impl Evaluation {
    /// What is to be written.
    pub fn cut(&self) -> Result<Cut<'_>> {
        match &self.chain {
            Some(chain) => Cut::whole(chain.last()),
            None => self.written.cut_of(&self.adapter),
        }
    }
}

/// Reads everything, runs the sweep and chooses.
pub fn evaluate(request: &Request, watch: Watch) -> Result<Evaluation> {
    let adapter = Adapter::open(&base::find(&request.adapter, None)?, None)?;
    adapter.check_can_be_evaluated()?;
    request.steps.iter().try_for_each(|step| step.check(&adapter))?;
    let base = find_base(request.base.as_deref(), &adapter)?;
    warn_of_towers(&adapter);
    let (model, gguf) = Model::open(&base, &request.sweep.device, request.arithmetic)?;
    model.check_fits(&adapter)?;
    check_boundary(request, &model)?;
    let ends = Ends::load(&model, &adapter)?;
    let inputs = prepare::prepare(request, &ends, gguf.as_ref())?;
    let tasks = metrics::tasks(&inputs, &ends, request)?;
    let (choosing, held_out) = (&inputs.choosing, &inputs.held_out);
    let allowed = |boundary: usize| within(&request.limits, &adapter, boundary);
    if !sweep::candidates(&adapter).iter().any(|&boundary| boundary > 0 && allowed(boundary)) {
        return Err(limit_too_small(&request.limits, &adapter).into());
    }
    let samples = &choosing.samples;
    let Chosen { curve, dropped, lens, choice, stability } =
        choosing::choose(&ends, samples, request, allowed, &mut *watch)?;
    let given = Given { ends: &ends, samples, curve: &curve, request };
    let (full, subset) = match request.subset {
        Some(grain) => subset::find(&given, &choice, grain, &mut *watch)?,
        None => (given.below(choice.boundary), None),
    };
    let found = scale::find(&given, choice.clone(), full, allowed, &mut *watch)?;
    let alternatives = alternatives::find(&given, choice.boundary, &found, &mut *watch)?;
    let (choice, row) = (found.choice, &found.written);
    let written = Written::new(row, &model);
    let checked = match held_out {
        Some(held_out) => {
            let profiles = alternatives.iter().map(|row| row.profile()).collect();
            Some(held_out::check(held_out, (choice.boundary, profiles), &ends, request, &mut *watch)?)
        }
        None => None,
    };
    let metrics = match &tasks {
        Some(tasks) => Some(metrics::measure(tasks, &given, &choice, row, &mut *watch)?),
        None => None,
    };
    let on_held_out = checked.as_ref().map(|checked| (&checked.answers[..], &checked.scores[..]));
    let (base_scores, whole_scores) = (given.below(0).scores, given.whole().scores);
    let mut sets = vec![steps::Samples {
        samples,
        answers: &curve.answers,
        base: &base_scores,
        cut: &row.scores,
        whole: &whole_scores,
    }];
    sets.extend(held_out.iter().zip(&checked).map(|(held_out, checked)| checked.as_samples(held_out)));
    let made = written::make(&adapter, &written, &model, &sets, request, watch)?;
    let report = Report {
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
        probability: lens.as_ref().map(describe::probability).unwrap_or_default(),
        dropped: dropped.iter().map(describe::dropped).collect(),
        work: Some(WorkDone {
            passes: curve.work.passes + lens.as_ref().map_or(0, |lens| lens.work.passes),
            layer_tokens: curve.work.layer_tokens + lens.as_ref().map_or(0, |lens| lens.work.layer_tokens),
            exhaustive_layer_tokens: sweep::exhaustive_work(&ends, samples, &request.sweep)?,
            error_probability: request.search.filter(|_| !choice.rule.needs_no_losses()).map(|options| options.error),
        }),
        chosen: Some(choice.clone()),
        stability: found.stability.unwrap_or(stability),
        alternatives: alternatives::describe(&alternatives, &given, on_held_out),
        subset,
        scale: found.report,
        held_out: checked.map(|checked| checked.report),
        metrics,
        output: made.output,
        steps: made.steps,
        layers: describe::layers(&adapter, &written.selection)?,
        changed: describe::changed(choosing, &curve, &found.written.scores),
        ..Report::of(describe::adapter(&request.adapter, &adapter)?)
    };
    Ok(Evaluation { adapter, base, curve, choice, report, written, chain: made.chain })
}

/// The base model that the user names, else the one that the adapter names.
pub fn find_base(base: Option<&str>, adapter: &Adapter) -> Result<BasePath> {
    match base {
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
