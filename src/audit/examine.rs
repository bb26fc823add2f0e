//! What is wrong with an adapter and what runtimes make of it: the one source of the verdicts of `check`, `inspect`, `cut` and
//! `slim`.

use std::mem::discriminant;

use candle_core::Device;

use super::flaws::{Flaw, Needed, RefusedBy, one_flaw};
use super::misspelling::Reach;
use super::runtimes::base_facts::BaseFacts;
use super::runtimes::facts::AdapterFacts;
use super::runtimes::list::PEFT;
use super::runtimes::{LoadOutcome, Runtime, RuntimeVerdict, verdict};
use crate::adapter::Adapter;
use crate::adapter::names::stack_and_layer;
use crate::error::{BaseError, Error, Result};
use crate::hub::BasePath;
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::model::applied::{DropCause, DroppedModule};
use crate::rewrite::dead_weight::BaseWeights;
use crate::rewrite::steps::PlannedChanges;

/// What was found in a PEFT folder.
#[derive(Debug, Clone)]
pub struct Examination {
    pub flaws: Vec<Flaw>,
    pub runtimes: Vec<RuntimeVerdict>,
}

/// A base model, as far as it is known.
#[derive(Debug, Default)]
pub struct KnownBase {
    pub facts: BaseFacts,
    /// Absent where it cannot be run, or was not opened.
    model: Option<Model>,
    /// Why it is absent, as the end of a sentence.
    absent: Option<String>,
}

impl KnownBase {
    /// Opens a base model for comparisons. Where it cannot be run, its configuration still gives the layers.
    pub fn open(base: &BasePath) -> Result<Self> {
        let mut facts = BaseFacts::of(base)?;
        match Model::open(base, &Device::Cpu, Arithmetic::F32) {
            Ok((model, _)) => {
                facts.layers = Some(model.config.layers);
                facts.vocabulary = Some(model.config.vocab_size);
                facts.family.get_or_insert(model.config.family.model_types[0].into());
                Ok(Self { facts, model: Some(model), absent: None })
            }
            Err(
                error @ Error::Base(
                    BaseError::UnsupportedFamily { .. }
                    | BaseError::UnsupportedFeature { .. }
                    | BaseError::Quantised { .. },
                ),
            ) => Ok(Self { facts, model: None, absent: Some(error.to_string()) }),
            Err(error) => Err(error),
        }
    }

    /// As [`open`](Self::open) for one that may be missing.
    pub fn open_if_there(base: Result<BasePath>) -> Self {
        let opened = base.and_then(|base| Self::open(&base));
        let absent = |error: Error| Self { absent: Some(format!("{error} (`--base` names it)")), ..Self::default() };
        opened.unwrap_or_else(absent)
    }

    /// Its weights.
    pub fn weights(&self) -> BaseWeights<'_> {
        match (&self.model, &self.absent) {
            (Some(model), _) => BaseWeights::Known(model),
            (None, Some(reason)) => BaseWeights::Unknown(reason),
            (None, None) => BaseWeights::Unknown("`--base` names it"),
        }
    }

    /// Where an adapter does not fit.
    fn misfits(&self, adapter: &Adapter) -> Vec<Flaw> {
        self.model.as_ref().map(|model| misfits(model, adapter)).unwrap_or_default()
    }
}

/// The modules that PEFT leaves out because of how transformers 5 holds experts.
fn unconverted(model: &Model, adapter: &Adapter) -> Option<Flaw> {
    let what = model.applied(adapter).unconverted_words()?;
    Some(Flaw::NotConverted { what, reach: reach(model, adapter) })
}

/// Where an adapter does not fit a base model. Modules that are not there are named once, under the first of them.
pub fn misfits(model: &Model, adapter: &Adapter) -> Vec<Flaw> {
    let mut flaws = absent_flaws(model, adapter);
    match model.check_fits(adapter) {
        Err(error @ Error::Base(BaseError::TooFewLayers { .. })) => {
            // This says more than that the first module of the layer is not there.
            flaws.retain(|flaw| !matches!(flaw, Flaw::NotInBase { needed: Needed::Nothing, .. }));
            flaws.push(Flaw::BeyondLayers { what: error.to_string(), reach: reach(model, adapter) });
        }
        Err(Error::Base(BaseError::NoSuchModule { .. })) if !flaws.is_empty() => {}
        Err(error) => flaws.push(Flaw::OtherSizes(error.to_string())),
        Ok(()) => {}
    }
    flaws.extend(unconverted(model, adapter));
    let refused = model.refused_conversion(adapter);
    flaws.extend(refused.map(|what| Flaw::Refused { what, by: RefusedBy::Both }));
    let unsaved = model.unsaved_modules(adapter);
    flaws.extend(unsaved.into_iter().next().map(|needed| Flaw::SavedUnderOtherName { needed }));
    let renamed = model.renamed(adapter).into_values();
    flaws.extend(model.wraps_nothing(adapter).then_some(Flaw::NamesNoModule));
    let missed: Vec<String> = renamed.filter(|name| adapter.config.targets.matches(name) == Some(false)).collect();
    flaws.extend(model.unused_exclusions(adapter).map(Flaw::Remark));
    flaws.extend(one_flaw(missed.iter(), |module, more| Flaw::NotNamed { module, more }));
    flaws
}

impl KnownBase {
    /// Whether a flaw is about a name that the base model does not have: PEFT compares the configuration with the model's own names.
    fn explains(&self, adapter: &Adapter, flaw: &Flaw) -> bool {
        let (Some(model), Flaw::NotNamed { module, .. }) = (&self.model, flaw) else { return false };
        if model.renamed(adapter).contains_key(module) {
            return true;
        }
        let is_it = |dropped: &DroppedModule| dropped.cause == DropCause::NoSuchModule && dropped.module == *module;
        model.applied(adapter).dropped.iter().any(is_it)
    }

    /// A flaw as it is beside this base model: PEFT does not miss the tensors of a module that the model does not have.
    fn temper(&self, flaw: Flaw) -> Flaw {
        match (&self.model, flaw) {
            (Some(model), Flaw::SavesNothing { name, .. }) if !model.has_module_like(&name) => Flaw::Remark(format!(
                "`modules_to_save` names `{name}`, which neither the adapter nor the base model has"
            )),
            (_, flaw) => flaw,
        }
    }
}

/// A flaw for the first module that the base model does not have, of each kind.
fn absent_flaws(model: &Model, adapter: &Adapter) -> Vec<Flaw> {
    let applied = model.applied(adapter);
    let reach = reach(model, adapter);
    let mut flaws: Vec<Flaw> = Vec::new();
    for dropped in applied.dropped.iter().filter(|dropped| dropped.cause == DropCause::NoSuchModule) {
        let needed = needed(&dropped.module, dropped.needed.as_deref());
        let is_known = |flaw: &Flaw| matches!(flaw, Flaw::NotInBase { needed: known, .. } if discriminant(known) == discriminant(&needed));
        if !flaws.iter().any(is_known) {
            flaws.push(Flaw::NotInBase { module: dropped.module.clone(), needed, reach });
        }
    }
    flaws
}

fn reach(model: &Model, adapter: &Adapter) -> Reach {
    let applied = model.applied(adapter);
    Reach { applied: applied.modules.len(), all: applied.count() }
}

fn needed(module: &str, name: Option<&str>) -> Needed {
    let Some(name) = name else { return Needed::Nothing };
    let adds_prefix = |longer: &str, shorter: &str| {
        longer.split_once('.').is_some_and(|(prefix, rest)| prefix == "model" && rest == shorter)
    };
    if adds_prefix(name, module) || adds_prefix(module, name) {
        Needed::Prefixed(name.into())
    } else if stack_and_layer(module).is_some() {
        Needed::InOtherStack(name.into())
    } else {
        Needed::Other(name.into())
    }
}

impl From<BaseFacts> for KnownBase {
    fn from(facts: BaseFacts) -> Self {
        Self { facts, ..Self::default() }
    }
}

/// What PEFT does not compute of an adapter as losses are computed of it, because its configuration and its tensors contradict each
/// other. One sentence each; names of tensors that PEFT does not read are not among it.
pub fn contradictions(adapter: &Adapter, base: &BaseFacts) -> Vec<String> {
    let flaws = adapter.refused_by_peft().into_iter().chain(adapter.config_flaws(base));
    let effects = flaws.filter_map(|flaw| flaw.effect_in(&PEFT));
    let in_words = |(outcome, what): (LoadOutcome, String)| match outcome {
        LoadOutcome::Loads => None,
        LoadOutcome::Differs => Some(format!("PEFT computes something else than is evaluated here: {what}")),
        LoadOutcome::Refuses => Some(format!("PEFT refuses this adapter: {what}")),
    };
    effects.filter_map(in_words).collect()
}

/// Examines a PEFT folder for some runtimes. Reads all of its tensors.
pub fn examine(adapter: &Adapter, base: &KnownBase, runtimes: &[&'static Runtime]) -> Result<Examination> {
    let mut flaws = base.misfits(adapter);
    let beside = base.facts.beside(adapter);
    let own = adapter.flaws(&beside)?.into_iter().filter(|flaw| !base.explains(adapter, flaw));
    flaws.extend(own.map(|flaw| base.temper(flaw)));
    let facts = AdapterFacts::new(adapter, &beside, PlannedChanges::default(), flaws);
    let known = runtimes.iter().filter(|runtime| runtime.is_known_for(adapter));
    let runtimes = known.map(|runtime| verdict::of(runtime, &facts)).collect();
    Ok(Examination { flaws: facts.into_flaws(), runtimes })
}
