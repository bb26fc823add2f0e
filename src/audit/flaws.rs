//! What is wrong with an adapter that opens: a configuration that does not match the tensors, values and shapes that cannot be
//! intended.
//!
//! [`Adapter::open`] refuses adapters that are unusable (half a pair, a wrong rank). With the flaws found here, some runtimes load
//! the adapter and compute something else than was trained.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rayon::prelude::*;

use super::misspelling::{Misspelling, Reach};
use crate::adapter::names::Part;
use crate::adapter::targets::TargetModules;
use crate::adapter::{Adapter, AdapterTensor, DefaultTargets, Module, NoEffect, WrappedName};
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::error::Result;

/// Something wrong with an adapter; its message names the module, the tensor or the key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Flaw {
    #[error("adapter_config.json names module `{module}`, which has no tensors{}", others(*more))]
    NamedWithoutTensors { module: String, more: usize },
    #[error("`target_modules` names `{0}`, which no tensor belongs to")]
    NamesNothing(String),
    #[error("adapter_config.json does not name module `{module}`, which has tensors{}", others(*more))]
    NotNamed { module: String, more: usize },
    #[error("`modules_to_save` names `{name}`, which no tensor belongs to")]
    SavesNothing {
        name: String,
        /// Whether tensors belong to another name of the list.
        has_others: bool,
    },
    #[error("tensor `{tensor}` is none of {method}, which `peft_type` says it is")]
    ForeignTensor { tensor: String, method: &'static str },
    #[error("`use_dora` is set, but module `{0}` has no magnitude")]
    NoMagnitude(String),
    #[error("module `{module}` has a magnitude, but `use_dora` is not set")]
    UnsaidMagnitude { module: String },
    #[error("`layers_to_transform` cannot go with a pattern in `target_modules`: PEFT refuses both together")]
    LayersOfPattern,
    #[error(
        "module `{module}` maps {inputs} to {outputs} values, others of its type map {usual_inputs} to {usual_outputs}"
    )]
    UnlikeOthers { module: String, inputs: usize, outputs: usize, usual_inputs: usize, usual_outputs: usize },
    #[error("tensor `{0}` holds NaN or infinite values")]
    NotFinite(String),
    #[error("tensor `{tensor}` has {}", misspelling.in_words())]
    Misspelled { tensor: String, misspelling: Misspelling, reach: Reach },
    #[error("`{name}` in `{key}` has the wrapper `{wrapper}` in its name")]
    WrappedConfig {
        key: &'static str,
        name: String,
        wrapper: &'static str,
        /// Whether the configuration names other modules with tensors.
        names_others: bool,
    },
    #[error("the base model has no module `{module}`{}", called(needed))]
    NotInBase { module: String, needed: Needed, reach: Reach },
    #[error("PEFT drops {what}")]
    NotConverted { what: String, reach: Reach },
    #[error("{what}")]
    BeyondLayers { what: String, reach: Reach },
    #[error("{0}")]
    OtherSizes(String),
    #[error("`modules_to_save` names `{needed}`, which has no tensors of this name")]
    SavedUnderOtherName { needed: String },
    #[error("{0}")]
    NoEffect(NoEffect),
    #[error("{what}")]
    Refused { what: &'static str, by: RefusedBy },
    #[error("`target_modules` is null, and PEFT has no modules for the model type `{0}`: it raises ValueError")]
    NoDefaultTargets(String),
    #[error("adapter_config.json names no module that the base model has: PEFT raises ValueError")]
    NamesNoModule,
    #[error("module `{0}` has a bias of `lora_B`, but `lora_bias` is not set")]
    UnsaidBias(String),
    #[error(
        "`{module}` has {rows} tokens, and the base model {base}: PEFT raises an error unless the model is resized first \
         (`resize_token_embeddings({rows})`)"
    )]
    Vocabulary { module: String, rows: usize, base: usize },
    #[error(
        "`trainable_token_indices` has token {token}, and the base model {base} tokens: PEFT raises an error unless the model is \
         resized first (`resize_token_embeddings({})`)",
        token + 1
    )]
    TokenBeyond { token: usize, base: usize },
    /// Something that is not used, or not as it is written.
    #[error("{0}")]
    Remark(String),
}

/// Which libraries refuse a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// PEFT as it loads the tensors, which transformers does otherwise.
    PeftAlone,
    /// PEFT as it reads the configuration or wraps the modules, so that transformers does, too.
    Both,
}

/// What a base model has in place of a module that it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// The same module of the same layer, in a stack with another name.
    InOtherStack(String),
    /// A module outside the layers whose name is another one.
    Other(String),
    /// A module whose name differs by a prefix of the decoder (`model.`), which transformers adds or takes away.
    Prefixed(String),
    Nothing,
}

fn called(needed: &Needed) -> String {
    match needed {
        Needed::InOtherStack(name) | Needed::Other(name) | Needed::Prefixed(name) => format!(", but `{name}`"),
        Needed::Nothing => String::new(),
    }
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" ({more} more are like it)") }
}

impl Adapter {
    /// Every flaw that the adapter shows beside what is known of its base model. Reads all tensors.
    pub fn flaws(&self, base: &BaseFacts) -> Result<Vec<Flaw>> {
        let mut flaws = self.header_flaws(base);
        flaws.extend(self.value_flaws()?);
        Ok(flaws)
    }

    /// The flaws that names, shapes and the configuration show. Reads no tensor.
    pub fn header_flaws(&self, base: &BaseFacts) -> Vec<Flaw> {
        let effect = self.no_effect.iter().cloned().map(Flaw::NoEffect);
        let names = self.misspelling_flaws().into_iter().chain(self.wrapped_config_flaw());
        let mut flaws: Vec<Flaw> = effect.chain(names).chain(self.refused_by_peft()).collect();
        flaws.extend(self.config_flaws(base));
        flaws.extend(base.vocabulary.into_iter().flat_map(|tokens| self.vocabulary_flaws(tokens)));
        flaws.extend(self.shape_flaws());
        // Some remarks say what flaws say, too.
        let said: Vec<String> = self.no_effect.iter().map(ToString::to_string).chain(self.spelling_remarks()).collect();
        let is_new = |remark: &&String| !said.contains(remark);
        flaws.extend(self.remarks.iter().filter(is_new).cloned().map(Flaw::Remark));
        flaws
    }

    /// The first name in the configuration that has a wrapper of training.
    fn wrapped_config_flaw(&self) -> Option<Flaw> {
        let WrappedName { key, name, wrapper } = self.config.wrapped.first()?.clone();
        let targets = self.config.stored_targets.as_ref()?;
        let names_others = self.modules().keys().any(|module| targets.matches(module) != Some(false));
        Some(Flaw::WrappedConfig { key, name, wrapper, names_others })
    }

    /// The flaws that values show, in the order of the tensors.
    fn value_flaws(&self) -> Result<Vec<Flaw>> {
        let names: Vec<&str> = self.tensors().map(|tensor| tensor.name).collect();
        let flaw = |name: &&str| Ok((!self.weights.is_finite(name)?).then(|| Flaw::NotFinite(name.to_string())));
        let flaws: Result<Vec<Option<Flaw>>> = names.par_iter().map(flaw).collect();
        Ok(flaws?.into_iter().flatten().collect())
    }

    /// Where the configuration does not match the tensors.
    pub fn config_flaws(&self, base: &BaseFacts) -> Vec<Flaw> {
        [self.selection_flaws(base), self.method_flaws(), self.saved_flaws()].concat()
    }

    /// Modules that only the configuration or only the tensors have.
    pub fn selection_flaws(&self, base: &BaseFacts) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let targets = match (&self.config.targets.modules, &base.family) {
            (TargetModules::OfModelType, Some(family)) => match DefaultTargets::of(self.config.method, family) {
                DefaultTargets::Modules(names) => &self.config.targets.with_modules(names),
                DefaultTargets::InAnotherTable => &self.config.targets,
                DefaultTargets::Missing => {
                    if self.config.targets.parameters.is_empty() {
                        flaws.push(Flaw::NoDefaultTargets(family.clone()));
                    }
                    &self.config.targets
                }
            },
            _ => &self.config.targets,
        };
        if targets.layers.is_some() && matches!(targets.modules, TargetModules::Pattern(_)) {
            flaws.push(Flaw::LayersOfPattern);
        }
        let absent = self.absent_modules(base.layers);
        let named = absent.iter().filter(|module| targets.matches(module) == Some(true));
        flaws.extend(one_flaw(named, |module, more| Flaw::NamedWithoutTensors { module, more }));
        if let TargetModules::List(list) = &targets.modules {
            let mut names: HashSet<&str> = HashSet::new();
            for module in self.modules().keys().chain(&absent) {
                names.extend([module, module.trim_end_matches(".base_layer")]);
                names.extend(module.match_indices('.').map(|(dot, _)| &module[dot + 1..]));
            }
            let unused = list.iter().filter(|target| !names.contains(target.as_str()));
            flaws.extend(unused.cloned().map(Flaw::NamesNothing));
        }
        let missed = self.modules().keys().filter(|module| targets.matches(module) == Some(false));
        flaws.extend(one_flaw(missed, |module, more| Flaw::NotNamed { module, more }));
        flaws
    }

    /// The modules that the configuration names and that could have tensors, but have none.
    pub fn named_without_tensors(&self, layers: Option<usize>) -> Vec<String> {
        let mut absent = self.absent_modules(layers);
        absent.retain(|module| self.config.targets.matches(module) == Some(true));
        absent
    }

    fn absent_modules(&self, layers: Option<usize>) -> Vec<String> {
        let mut modules = self.possible_modules(layers);
        modules.retain(|module| !self.modules().contains_key(module));
        modules
    }

    /// The modules that each layer has or could have. The layers of a model may differ (dense and with experts, with and without
    /// cross-attention). So a layer could have a module if it has others of the same block, and most layers that have all of those
    /// have this module too.
    fn possible_modules(&self, layers: Option<usize>) -> Vec<String> {
        let mut by_layer: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for module in self.modules().values() {
            if let Some(layer) = module.layer {
                by_layer.entry(layer).or_default().insert(self.inside_layer(&module.name, layer));
            }
        }
        let all: BTreeSet<&str> = by_layer.values().flatten().copied().collect();
        let is_possible = |present: &BTreeSet<&str>, module: &str| {
            let same_block: Vec<&str> = present.iter().copied().filter(|other| block(other) == block(module)).collect();
            let alike: Vec<_> =
                by_layer.values().filter(|layer| same_block.iter().all(|other| layer.contains(other))).collect();
            let with = alike.iter().filter(|layer| layer.contains(module)).count();
            (present.is_empty() || !same_block.is_empty()) && with * 2 > alike.len()
        };
        // Without the number of layers, those that the tensors or the configuration mention.
        let count = layers.unwrap_or_else(|| self.layer_count());
        let listed = self.config.targets.layers.iter().flatten().copied();
        let beyond = listed.filter(|&layer| layers.is_none() && layer >= count);
        // Most layers have the same modules, so that there are few kinds to decide on.
        let mut possible: BTreeMap<&BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
        let none = BTreeSet::new();
        // A hybrid has the modules of a mixer in every so many layers alone.
        let is_hybrid = is_every_nth(by_layer.keys().copied());
        let could_have = |layer| {
            let present = by_layer.get(&layer).unwrap_or(&none);
            if present.is_empty() && is_hybrid {
                return Vec::new();
            }
            // A layer without any tensors may be one without experts.
            let may_lack = |module: &str| present.is_empty() && module.split('.').any(|part| part == "experts");
            let is_possible = |module: &&str| is_possible(present, module) && !may_lack(module);
            let decide = || all.iter().copied().filter(is_possible).collect();
            let possible = possible.entry(present).or_insert_with(decide);
            possible.iter().map(|inside| format!("{}.{layer}.{inside}", self.stack)).collect::<Vec<_>>()
        };
        (0..count).chain(beyond).flat_map(could_have).collect()
    }

    /// Tensors that the configured method does not have.
    fn method_flaws(&self) -> Vec<Flaw> {
        let method = self.config.method;
        let is_foreign = |part: Part| if part.is_of_pair() { !method.is_low_rank() } else { !method.has(part) };
        let foreign = self.tensors().find(|tensor| tensor.key.is_wrapped() && is_foreign(tensor.key.part));
        let foreign = foreign.map(|tensor| Flaw::ForeignTensor { tensor: tensor.name.into(), method: method.name() });
        let is_unlike = |module: &&Module| method.is_low_rank() && !self.has_magnitude_as_configured(module);
        let unlike = self.modules().values().find(is_unlike).map(|module| match module.has(Part::Magnitude) {
            false => Flaw::NoMagnitude(module.name.clone()),
            true => Flaw::UnsaidMagnitude { module: module.name.clone() },
        });
        let is_unsaid = |module: &&Module| module.has(Part::LoraBias) && !self.config.flag("lora_bias");
        let bias = self.modules().values().find(is_unsaid).map(|module| Flaw::UnsaidBias(module.name.clone()));
        foreign.into_iter().chain(unlike).chain(bias).collect()
    }

    fn saved_flaws<'a>(&'a self) -> Vec<Flaw> {
        let saved = || self.tensors().filter(|tensor| tensor.key.part == Part::Saved);
        let of = |tensor: AdapterTensor<'a>| tensor.key.module.as_str();
        let (all, clean): (Vec<&str>, Vec<&str>) =
            (saved().map(of).collect(), saved().filter(|tensor| tensor.key.spelling.is_clean()).map(of).collect());
        let names = self.config.raw.get("modules_to_save").and_then(|value| value.as_array()).into_iter().flatten();
        let names = names.filter_map(|name| name.as_str());
        let has = |saved: &[&str], name: &str| {
            saved.iter().any(|module| module.split('.').any(|part| part == name) || module.ends_with(name))
        };
        let (present, absent): (Vec<&str>, Vec<&str>) = names.partition(|name| has(&all, name));
        let has_others = !present.is_empty();
        let nothing = absent.into_iter().map(|name| Flaw::SavesNothing { name: name.into(), has_others });
        // PEFT asks for the tensors of a saved module by its own name.
        let misspelled = present.into_iter().filter(|name| !has(&clean, name));
        nothing.chain(misspelled.map(|name| Flaw::SavedUnderOtherName { needed: name.into() })).collect()
    }

    /// Modules whose sizes differ from those of most modules of their type.
    fn shape_flaws(&self) -> Vec<Flaw> {
        let mut by_type: BTreeMap<&str, Vec<(&Module, ModuleShape)>> = BTreeMap::new();
        for module in self.modules().values() {
            if let (Some(layer), Some(shape)) = (module.layer, self.module_shape(module)) {
                by_type.entry(self.inside_layer(&module.name, layer)).or_default().push((module, shape));
            }
        }
        let mut flaws = Vec::new();
        for modules in by_type.values() {
            let mut counts: BTreeMap<ModuleShape, usize> = BTreeMap::new();
            modules.iter().for_each(|(_, shape)| *counts.entry(*shape).or_default() += 1);
            // Where sizes change with the layers, none is usual.
            let Some((&usual, _)) = counts.iter().find(|(_, count)| **count * 2 > modules.len()) else { continue };
            let (usual_inputs, usual_outputs) = usual;
            let others = modules.iter().filter(|(_, shape)| *shape != usual);
            flaws.extend(others.map(|&(module, (inputs, outputs))| {
                let module = module.name.clone();
                Flaw::UnlikeOthers { module, inputs, outputs, usual_inputs, usual_outputs }
            }));
        }
        flaws
    }
}

/// The inputs and the outputs of a module.
type ModuleShape = (usize, usize);

/// The block of a layer that contains a module: `self_attn` of `self_attn.q_proj`.
fn block(inside: &str) -> &str {
    inside.rsplit_once('.').map_or("", |(block, _)| block)
}

/// One flaw for all of these modules: the first, and how many more there are.
pub(super) fn one_flaw<'a>(
    mut modules: impl Iterator<Item = &'a String>,
    flaw: impl Fn(String, usize) -> Flaw,
) -> Option<Flaw> {
    let first = modules.next()?.clone();
    Some(flaw(first, modules.count()))
}
/// Whether layers are the last of every so many, several of them: 3, 7, 11. Of fewer than three it may as well be chance.
fn is_every_nth(mut layers: impl Iterator<Item = usize>) -> bool {
    let (Some(first), Some(second)) = (layers.next(), layers.next()) else { return false };
    let step = first + 1;
    step > 2 && second == first + step && layers.enumerate().all(|(place, layer)| layer == second + (place + 1) * step)
}
