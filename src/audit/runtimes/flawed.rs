//! What runtimes make of an adapter that has a flaw.
//!
//! A flaw is either wrong in any case, and then a rule says what each runtime makes of it, or it may be meant. So no verdict can
//! pass over a flaw.

use super::list::flaws as rules;
use super::{LoadOutcome, Remedy, Runtime};
use crate::audit::flaws::{Flaw, Needed, RefusedBy};
use crate::audit::misspelling::Misspelling;

/// What each runtime makes of one kind of flaw.
#[derive(Debug)]
pub struct FlawRule {
    /// The kind of flaw, in words.
    pub words: &'static str,
    /// The runtimes of which it is known.
    pub known: &'static [(&'static [&'static Runtime], FlawEffect)],
    /// All others.
    pub others: FlawEffect,
    pub remedy: Remedy,
}

/// What a runtime makes of a flaw: the outcome, and the reason.
pub type FlawEffect = (LoadOutcome, Because);

/// The reason, as the end of a sentence that the flaw begins.
#[derive(Debug, Clone, Copy)]
pub enum Because {
    Says(&'static str),
    /// The number of modules that are applied says it.
    AppliesSome,
}

impl Because {
    /// The reason for an adapter that is not named.
    pub fn words(self) -> &'static str {
        match self {
            Because::Says(words) => words,
            Because::AppliesSome => "applies nothing, or only the modules without it",
        }
    }
}

/// How grave a flaw is.
#[derive(Debug, Clone, Copy)]
pub enum Gravity {
    /// An adapter may be like this on purpose.
    MayBeMeant,
    /// It is a mistake, and this is what comes of it.
    Wrong(&'static FlawRule),
}

impl FlawRule {
    pub fn effect_in(&self, runtime: &Runtime) -> FlawEffect {
        let of_runtime =
            |(those, _): &&(&[&'static Runtime], FlawEffect)| those.iter().any(|one| one.name == runtime.name);
        self.known.iter().find(of_runtime).map_or(self.others, |(_, effect)| *effect)
    }
}

impl Flaw {
    pub fn gravity(&self) -> Gravity {
        Gravity::Wrong(match self {
            Flaw::NamesNothing(_) | Flaw::UnlikeOthers { .. } | Flaw::Remark(_) => return Gravity::MayBeMeant,
            // PEFT lists all names that the head of a classifier can have (`classifier`, `score`); a model has one of them.
            Flaw::SavesNothing { has_others: true, .. } => return Gravity::MayBeMeant,
            Flaw::SavesNothing { has_others: false, .. } => &rules::SAVES_NOTHING,
            Flaw::NamedWithoutTensors { .. } => &rules::NAMED_WITHOUT_TENSORS,
            Flaw::NotNamed { .. } => &rules::NOT_NAMED,
            Flaw::ForeignTensor { .. } => &rules::FOREIGN_TENSOR,
            Flaw::NoMagnitude(_) => &rules::NO_MAGNITUDE,
            Flaw::UnsaidMagnitude { .. } => &rules::UNSAID_MAGNITUDE,
            Flaw::LayersOfPattern => &rules::LAYERS_OF_PATTERN,
            Flaw::NotFinite(_) => &rules::NOT_FINITE,
            Flaw::Misspelled { misspelling, .. } => match misspelling {
                Misspelling::WrappedModel(_) => &rules::WRAPPED_MODEL,
                Misspelling::WrappedLayer(_) => &rules::WRAPPED_LAYER,
                Misspelling::AdapterName(_) => &rules::ADAPTER_NAME,
                Misspelling::NoPrefix => &rules::NO_PREFIX,
                Misspelling::PrefixTwice => &rules::PREFIX_TWICE,
            },
            Flaw::WrappedConfig { names_others: true, .. } => &rules::WRAPPED_CONFIG,
            Flaw::WrappedConfig { names_others: false, .. } => &rules::WRAPPED_TARGETS,
            Flaw::NotInBase { needed: Needed::InOtherStack(_), .. } => &rules::OTHER_STACK,
            Flaw::NotInBase { needed: Needed::Other(_), .. } => &rules::OTHER_NAME,
            Flaw::NotInBase { needed: Needed::Prefixed(_), .. } => &rules::OTHER_PREFIX,
            Flaw::NotInBase { needed: Needed::Nothing, .. } => &rules::ABSENT,
            Flaw::BeyondLayers { .. } => &rules::ABSENT,
            Flaw::NotConverted { .. } => &rules::NOT_CONVERTED,
            Flaw::SavedUnderOtherName { .. } => &rules::SAVED_UNDER_OTHER_NAME,
            Flaw::OtherSizes(_) => &rules::OTHER_SIZES,
            Flaw::NoEffect(_) => &rules::NO_EFFECT,
            Flaw::Refused { by: RefusedBy::Both, .. } => &rules::REFUSED,
            Flaw::Refused { by: RefusedBy::PeftAlone, .. } => &rules::REFUSED_BY_PEFT,
            Flaw::NoDefaultTargets(_) | Flaw::NamesNoModule => &rules::REFUSED,
            Flaw::UnsaidBias(_) => &rules::UNSAID_BIAS,
            Flaw::Vocabulary { .. } | Flaw::TokenBeyond { .. } => &rules::VOCABULARY,
        })
    }

    /// What a runtime makes of the flaw, and why; `None` where it may be meant.
    pub(in crate::audit) fn effect_in(&self, runtime: &Runtime) -> Option<(LoadOutcome, String)> {
        let Gravity::Wrong(rule) = self.gravity() else { return None };
        let (outcome, because) = rule.effect_in(runtime);
        let because = match (because, self) {
            (
                Because::AppliesSome,
                Flaw::Misspelled { reach, .. }
                | Flaw::NotInBase { reach, .. }
                | Flaw::NotConverted { reach, .. }
                | Flaw::BeyondLayers { reach, .. },
            ) => reach.in_words(),
            (because, _) => because.words().into(),
        };
        Some((outcome, format!("{self}: {because}")))
    }

    /// Whether an adapter may be like this on purpose.
    pub fn may_be_meant(&self) -> bool {
        matches!(self.gravity(), Gravity::MayBeMeant)
    }
}
