//! What is wrong with an adapter that opens: a configuration that does not say what the tensors are, values and shapes that
//! cannot be meant.
//!
//! [`Adapter::open`] refuses what nothing can be done with (half a pair, a wrong rank). What is found here some runtimes load all
//! the same, and compute something else than was trained.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::Adapter;
use crate::adapter::names::Part;
use crate::adapter::targets::{TargetModules, last_segment};
use crate::error::{Error, Result, TensorError};

/// Something wrong with an adapter, in words that name the module, the tensor or the key.
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
    #[error("{0}")]
    Base(String),
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" ({more} more are like it)") }
}

impl Flaw {
    /// Whether an adapter can be like this and still be what was meant.
    pub fn may_be_meant(&self) -> bool {
        match self {
            Flaw::NamesNothing(_) | Flaw::UnlikeOthers { .. } => true,
            // PEFT lists the names that the head of a classifier can have (`classifier`, `score`); a model has one of them.
            Flaw::SavesNothing { has_others, .. } => *has_others,
            _ => false,
        }
    }
}

impl Adapter {
    /// Everything that is wrong as far as the adapter alone tells, given the number of decoder layers if that is known. Reads all
    /// tensors.
    pub fn flaws(&self, layers: Option<usize>) -> Result<Vec<Flaw>> {
        let mut flaws = self.config_flaws(layers);
        flaws.extend(self.shape_flaws());
        for tensor in self.tensors() {
            match self.weights.load_finite(tensor.name) {
                Err(Error::Tensor(TensorError::NotFinite { name, .. })) => flaws.push(Flaw::NotFinite(name)),
                other => drop(other?),
            }
        }
        Ok(flaws)
    }

    /// Where the configuration does not say what the tensors are.
    pub fn config_flaws(&self, layers: Option<usize>) -> Vec<Flaw> {
        [self.selection_flaws(layers), self.method_flaws(), self.saved_flaws()].concat()
    }

    /// Modules that only one of configuration and tensors knows. `layers` is one more than the highest layer to look at.
    pub fn selection_flaws(&self, layers: Option<usize>) -> Vec<Flaw> {
        let (modules, targets) = (self.modules(), &self.config.targets);
        let mut flaws = Vec::new();
        let is_list = matches!(targets.modules, TargetModules::List(_));
        if targets.layers.is_some() && !is_list {
            flaws.push(Flaw::LayersOfPattern);
        }
        let matcher = targets.matcher();
        let absent = self.absent_modules(layers);
        let named = absent.iter().filter(|module| matcher.matches(module) == Some(true));
        flaws.extend(first_of(named, |module, more| Flaw::NamedWithoutTensors { module, more }));
        if let TargetModules::List(list) = &targets.modules {
            let names = |target: &String, module: &String| {
                module == target
                    || module.ends_with(&format!(".{target}"))
                    || module.trim_end_matches(".base_layer") == target
            };
            let nothing =
                list.iter().filter(|target| !modules.keys().chain(&absent).any(|module| names(target, module)));
            flaws.extend(nothing.cloned().map(Flaw::NamesNothing));
        }
        let missed = modules.keys().filter(|module| matcher.matches(module) == Some(false));
        flaws.extend(first_of(missed, |module, more| Flaw::NotNamed { module, more }));
        flaws
    }

    /// The modules that the configuration names and that could have tensors, but have none.
    pub fn named_without_tensors(&self, layers: Option<usize>) -> Vec<String> {
        let matcher = self.config.targets.matcher();
        let mut absent = self.absent_modules(layers);
        absent.retain(|module| matcher.matches(module) == Some(true));
        absent
    }

    fn absent_modules(&self, layers: Option<usize>) -> Vec<String> {
        let modules = self.modules();
        self.possible_modules(layers).into_iter().filter(|module| !modules.contains_key(module)).collect()
    }

    /// The modules that each layer has or could have. Layers of one model may differ (dense and with experts, with and without
    /// cross-attention), so a layer could have what most layers have that have all that it has of the same block.
    fn possible_modules(&self, layers: Option<usize>) -> Vec<String> {
        let mut by_layer: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for module in self.modules().into_keys() {
            if let Some(layer) = self.layer_of(&module) {
                by_layer.entry(layer).or_default().insert(self.inside_layer(&module, layer).into());
            }
        }
        let all: BTreeSet<&String> = by_layer.values().flatten().collect();
        let is_possible = |present: &BTreeSet<String>, module: &str| {
            let mut same_block = present.iter().filter(|other| block(other) == block(module)).peekable();
            if same_block.peek().is_none() && !present.is_empty() {
                return false;
            }
            let same_block: Vec<&String> = same_block.collect();
            let alike = by_layer.values().filter(|layer| same_block.iter().all(|other| layer.contains(*other)));
            let (with, of) =
                alike.fold((0, 0), |(with, of), layer| (with + usize::from(layer.contains(module)), of + 1));
            with * 2 > of
        };
        // Where the number of layers is not known there are those that anything tells of.
        let count = layers.unwrap_or_else(|| self.layer_count());
        let listed = self.config.targets.layers.iter().flatten().copied();
        let beyond = listed.filter(|&layer| layers.is_none() && layer >= count);
        let none = BTreeSet::new();
        let could_have = |layer| {
            let present = by_layer.get(&layer).unwrap_or(&none);
            let possible = all.iter().filter(move |module| is_possible(present, module));
            possible.map(|inside| format!("{}.{layer}.{inside}", self.stack)).collect::<Vec<_>>()
        };
        (0..count).chain(beyond).flat_map(could_have).collect()
    }

    /// Tensors that the method of the configuration does not have.
    fn method_flaws(&self) -> Vec<Flaw> {
        let (method, wants_magnitudes) = (self.config.method, self.config.flag("use_dora"));
        let is_lora = matches!(method.peft_type, "LORA" | "ADALORA");
        let is_foreign = |part: Part| match part {
            Part::LoraA | Part::LoraB | Part::EmbeddingA | Part::EmbeddingB => !is_lora,
            part => !method.has(part),
        };
        let foreign = self.tensors().find(|tensor| tensor.key.is_wrapped() && is_foreign(tensor.key.part));
        let foreign = foreign.map(|tensor| Flaw::ForeignTensor { tensor: tensor.name.into(), method: method.name });
        let modules = self.modules();
        let unlike =
            modules.iter().find(|(_, parts)| is_lora && parts.contains_key(&Part::Magnitude) != wants_magnitudes);
        let unlike = unlike.map(|(module, _)| match wants_magnitudes {
            true => Flaw::NoMagnitude(module.clone()),
            false => Flaw::UnsaidMagnitude { module: module.clone() },
        });
        foreign.into_iter().chain(unlike).collect()
    }

    fn saved_flaws(&self) -> Vec<Flaw> {
        let saved: Vec<String> = self
            .tensors()
            .filter(|tensor| tensor.key.part == Part::Saved)
            .map(|tensor| tensor.key.module.clone())
            .collect();
        let names = self.config.raw.get("modules_to_save").and_then(|value| value.as_array()).into_iter().flatten();
        let names = names.filter_map(|name| name.as_str());
        let has = |name: &&str| {
            saved.iter().any(|module| module.split('.').any(|part| part == *name) || module.ends_with(name))
        };
        let (present, absent): (Vec<&str>, Vec<&str>) = names.partition(has);
        let has_others = !present.is_empty();
        absent.into_iter().map(|name| Flaw::SavesNothing { name: name.into(), has_others }).collect()
    }

    /// Modules whose sizes are not those that most modules of their type have.
    fn shape_flaws(&self) -> Vec<Flaw> {
        let mut by_type: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
        for (module, parts) in self.modules() {
            if let (Some(layer), Some((inputs, outputs))) = (self.layer_of(&module), self.module_shape(&parts)) {
                let inside = self.inside_layer(&module, layer).to_string();
                by_type.entry(inside).or_default().push(Measured { module, inputs, outputs });
            }
        }
        let mut flaws = Vec::new();
        for alike in by_type.values() {
            let like = |one: &Measured| alike.iter().filter(|other| one.is_like(other)).count();
            let Some(usual) = alike.iter().max_by_key(|one| like(one)) else { continue };
            // Where sizes change with the layers there is no usual one.
            if like(usual) * 2 <= alike.len() {
                continue;
            }
            let others = alike.iter().filter(|other| !usual.is_like(other));
            flaws.extend(others.map(|&Measured { ref module, inputs, outputs }| {
                let (usual_inputs, usual_outputs) = (usual.inputs, usual.outputs);
                Flaw::UnlikeOthers { module: module.clone(), inputs, outputs, usual_inputs, usual_outputs }
            }));
        }
        flaws
    }
}

/// A module and its sizes.
struct Measured {
    module: String,
    inputs: usize,
    outputs: usize,
}

impl Measured {
    fn is_like(&self, other: &Measured) -> bool {
        (self.inputs, self.outputs) == (other.inputs, other.outputs)
    }
}

/// The part of a layer that a module lies in: `self_attn` of `self_attn.q_proj`.
fn block(inside: &str) -> &str {
    inside.rsplit_once('.').map_or("", |(block, _)| block)
}

/// One flaw for many modules of one kind: the first, and how many more there are.
pub(super) fn first_of<'a>(
    mut modules: impl Iterator<Item = &'a String>,
    flaw: impl Fn(String, usize) -> Flaw,
) -> Option<Flaw> {
    let first = modules.next()?.clone();
    Some(flaw(first, modules.count()))
}

/// The last segments of module names that hold a vocabulary.
pub fn is_vocabulary(module: &str) -> bool {
    matches!(last_segment(module), "embed_tokens" | "lm_head" | "wte" | "word_embeddings" | "embed_in" | "embed_out")
}
