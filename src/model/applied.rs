//! Which modules of an adapter PEFT loads on a base model.
//!
//! PEFT wraps modules of the base model by the adapter's configuration, and loads the adapter's tensors by name. A tensor whose name
//! the base model does not have is dropped without an error, and the module stays as it was initialised: it changes nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use super::class_names::ClassNames;
use super::family::{ALTUP_MAPS, Outside};
use crate::account::is_set;
use crate::adapter::names::{is_of_tower, stack_and_layer};
use crate::adapter::targets::{MovedModule, last_segment};
use crate::adapter::{Adapter, Method, Module};
use crate::error::{AdapterError, Result};
use crate::format::{first_names, plural};

/// What PEFT makes of an adapter's modules on a base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The modules whose tensors PEFT loads.
    pub modules: BTreeSet<String>,
    /// Those whose tensors it drops.
    pub dropped: Vec<DroppedModule>,
    /// What it computes otherwise of those that it loads, one sentence each.
    pub otherwise: Vec<String>,
}

/// A module of an adapter that PEFT does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedModule {
    /// Its name in the adapter, without wrappers.
    pub module: String,
    pub cause: DropCause,
    /// The name under which PEFT would apply it; `None` if the base model has no such module.
    pub needed: Option<String>,
    /// Whether losses include it all the same: they are those of the adapter as it was trained.
    pub is_evaluated: bool,
}

/// Why PEFT drops the tensors of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// The base model has no module of this name.
    NoSuchModule,
    /// PEFT wraps another part of the model with transformers 5 than the adapter was trained on.
    NotConverted,
    /// The module exists, but its tensors have a wrapper or an adapter's name in theirs.
    Spelling,
}

/// Where a base model has a module of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Layer(usize),
    Outside(Outside),
    /// In a part that text does not go through.
    Elsewhere,
    /// Nowhere under this name.
    Nowhere,
}

impl Applied {
    pub fn count(&self) -> usize {
        self.modules.len() + self.dropped.len()
    }

    /// What to tell the user of names that the base model does not have: one sentence for modules that the losses include, and one
    /// for those that they leave out.
    pub fn remarks(&self) -> Vec<String> {
        let unknown = || self.dropped.iter().filter(|dropped| dropped.cause == DropCause::NoSuchModule);
        let remark = |is_evaluated: bool, consequence: &str| {
            let dropped: Vec<&DroppedModule> = unknown().filter(|one| one.is_evaluated == is_evaluated).collect();
            let first = dropped.first()?;
            let needed = match &first.needed {
                Some(needed) => format!("which the base model calls `{needed}`"),
                None => "which the base model does not have".into(),
            };
            let (count, all) = (dropped.len(), plural(self.count(), "module"));
            let name = &first.module;
            Some(format!("PEFT drops {count} of {all} without an error, such as `{name}`, {needed}: {consequence}"))
        };
        let evaluated = remark(true, "the losses are those of the adapter as it was trained, not of what PEFT loads");
        let left_out = remark(false, "the losses leave these out, too");
        let converted = self.unconverted_words().map(|words| {
            format!("PEFT drops {words}: the losses are those of the adapter as it was trained, not of what PEFT loads")
        });
        [evaluated, left_out, converted].into_iter().flatten().chain(self.otherwise.iter().cloned()).collect()
    }
}

impl Applied {
    /// How many modules PEFT wraps in another place than they were trained in, and the first of them.
    pub fn unconverted_words(&self) -> Option<String> {
        let lost: Vec<&DroppedModule> =
            self.dropped.iter().filter(|dropped| dropped.cause == DropCause::NotConverted).collect();
        let name = &lost.first()?.module;
        let all = plural(self.count(), "module");
        let why = match MovedModule::parse(name) {
            Some(_) => {
                "transformers 5 has one parameter for all experts, and PEFT does not convert those of this model type"
                    .into()
            }
            None => {
                format!("with transformers 5 it takes `{}` in `target_modules` for experts alone", last_segment(name))
            }
        };
        Some(format!("{} of {all} without an error, such as `{name}`, because {why}", lost.len()))
    }
}

/// What PEFT looks for when it loads an adapter on a model.
struct Lookup<'a> {
    model: &'a Model,
    adapter: &'a Adapter,
    /// The classes that may load the model.
    classes: Vec<ClassNames>,
    /// Whether PEFT replaces former names by current ones.
    renames: bool,
}

impl<'a> Lookup<'a> {
    fn new(model: &'a Model, adapter: &'a Adapter) -> Self {
        let is_headless = adapter.config.text("task_type") == Some("FEATURE_EXTRACTION");
        let classes = match is_headless {
            true => model.names.classes.iter().map(ClassNames::without_head).collect(),
            false => model.names.classes.clone(),
        };
        Self { model, adapter, classes, renames: adapter.config.method == Method::Lora && !is_headless }
    }

    /// Why PEFT drops the tensors of a module, unless it loads them.
    fn drop_cause(&self, module: &Module) -> Option<DropCause> {
        match (self.has(module), self.reads_names_of(module)) {
            (false, _) => Some(DropCause::NoSuchModule),
            (true, false) => Some(DropCause::Spelling),
            (true, true) => self.model.is_lost_in_conversion(self.adapter, module).then_some(DropCause::NotConverted),
        }
    }

    /// Whether a class that loads the model has the module under its name.
    fn has(&self, module: &Module) -> bool {
        let name: Cow<str> = match self.renames {
            true => self.model.names.current(&module.name),
            false => module.name.as_str().into(),
        };
        let outer = self.model.config.family.outer;
        let is_outside = |class: &ClassNames| {
            Outside::ALL.into_iter().any(|outside| class.outside(outside, outer).as_deref() == Some(&*name))
        };
        match (module.layer, stack_and_layer(&name)) {
            (Some(layer), Some((stack, _))) if !self.model.is_beside_decoder(stack) => {
                self.classes.iter().any(|class| class.stack == stack)
                    && self.model.has_in_layer(self.adapter, module, layer)
            }
            _ if is_of_tower(&name) => self.model.has_elsewhere(&name),
            _ => self.classes.iter().any(is_outside),
        }
    }

    /// Whether PEFT reads the names of a module's tensors, as far as they are more than the module's own.
    fn reads_names_of(&self, module: &Module) -> bool {
        let needs_no_prefix = self.renames && self.model.names.needs_no_prefix;
        self.adapter.is_clean(&module.name) || needs_no_prefix && self.adapter.lacks_prefix_alone(&module.name)
    }
}

impl Model {
    /// Which modules of an adapter PEFT loads on this model. Those of a GGUF file may be loaded by several classes; what one of them
    /// has counts.
    pub fn applied(&self, adapter: &Adapter) -> Applied {
        let lookup = Lookup::new(self, adapter);
        let (mut modules, mut dropped) = (BTreeSet::new(), Vec::new());
        for module in adapter.modules().values() {
            match lookup.drop_cause(module) {
                None => drop(modules.insert(module.name.clone())),
                Some(cause) => dropped.push(DroppedModule {
                    module: module.name.clone(),
                    cause,
                    needed: self.needed(adapter, module).filter(|_| cause != DropCause::NotConverted),
                    is_evaluated: self.is_evaluated(adapter, module),
                }),
            }
        }
        Applied { modules, dropped, otherwise: self.conversion_remarks(adapter) }
    }

    /// Whether losses include a module, under whatever name.
    fn is_evaluated(&self, adapter: &Adapter, module: &Module) -> bool {
        match self.place(adapter, &module.name) {
            Place::Layer(layer) => !self.reads_instead(layer, adapter.inside_layer(module.configured_name(), layer)),
            Place::Outside(_) => true,
            Place::Elsewhere | Place::Nowhere => false,
        }
    }

    /// Whether the name of any module ends with `ending`, as `modules_to_save` selects them. A tied head has no tensor.
    pub fn has_module_like(&self, ending: &str) -> bool {
        let is_like = |tensor: &str| tensor.rsplit_once('.').is_some_and(|(module, _)| module.ends_with(ending));
        let is_head = self.names.class().head.as_ref().is_some_and(|head| head.ends_with(ending));
        is_head || self.weights.store.iter().any(|(name, _)| is_like(name))
    }

    /// The modules of this model that `modules_to_save` selects, by the ends of their names, and that the adapter has no tensors of,
    /// though it has those of others. PEFT asks for the tensors of each.
    pub fn unsaved_modules(&self, adapter: &Adapter) -> Vec<String> {
        let names = adapter.config.raw.get("modules_to_save").and_then(|value| value.as_array()).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|name| name.as_str()).collect();
        let saved: BTreeSet<String> = adapter.saved_modules();
        if saved.is_empty() || self.weights.is_gguf() {
            return Vec::new();
        }
        let is_named = |module: &String| names.iter().any(|name| module.ends_with(name));
        let lies_in = |module: &str, outer: &str| module.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        let has =
            |module: &String| saved.iter().any(|one| one == module || lies_in(module, one) || lies_in(one, module));
        self.module_names().into_iter().filter(|module| is_named(module) && !has(module)).collect()
    }

    /// Says so if `exclude_modules` names what this model does not have.
    pub fn unused_exclusions(&self, adapter: &Adapter) -> Option<String> {
        if self.weights.is_gguf() || !adapter.config.raw.get("exclude_modules").is_some_and(is_set) {
            return None;
        }
        let names = self.module_names();
        // Files from before transformers 4.52 have towers without this beginning.
        let begun: Vec<String> = names.iter().map(|name| format!("model.{name}")).collect();
        let names: Vec<&str> = names.iter().chain(&begun).map(String::as_str).collect();
        let unused = adapter.config.targets.unused_exclusions(&names);
        (!unused.is_empty()).then(|| {
            let unused = first_names(&unused, 3);
            format!("no module of the base model that has weights matches {unused} in `exclude_modules`")
        })
    }

    /// The names of all modules that have weights, and of those that contain them, as the class that loads the model has them. Those
    /// beside the decoder are as in the files.
    fn module_names(&self) -> BTreeSet<String> {
        let class = self.names.class();
        let mut names = BTreeSet::from_iter(class.head.clone());
        for (tensor, _) in self.weights.store.iter() {
            let Some((module, _)) = tensor.rsplit_once('.') else { continue };
            let module = match module.strip_prefix(self.weights.decoder()) {
                _ if last_segment(module) == self.config.family.outer.head => continue,
                Some(inside) => class.inside_decoder(inside),
                None => module.into(),
            };
            let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
            names.extend(ends.map(|end| module[..end].to_string()));
        }
        names
    }

    /// The names that PEFT replaces by current ones before it looks for modules, with these.
    pub fn renamed(&self, adapter: &Adapter) -> BTreeMap<String, String> {
        if !Lookup::new(self, adapter).renames {
            return BTreeMap::new();
        }
        let current = |module: &String| (module.clone(), self.names.current(module).into_owned());
        adapter.modules().keys().map(current).filter(|(module, current)| module != current).collect()
    }

    /// Whether the configuration of an adapter selects no module of this model, as far as its names are known. PEFT takes that for an
    /// error.
    pub fn wraps_nothing(&self, adapter: &Adapter) -> bool {
        let targets = adapter.config.stored_targets.as_ref().unwrap_or(&adapter.config.targets);
        let is_missed = |module: &str| targets.matches(module) == Some(false);
        let current = adapter.modules().keys().all(|module| is_missed(&self.names.current(module)));
        current && !self.weights.is_gguf() && self.module_names().iter().all(|module| is_missed(module))
    }

    /// Refuses an adapter whose layers are those of a tower of this model, or of another one: no text passes through them.
    pub fn check_stack(&self, adapter: &Adapter) -> Result<()> {
        if !self.is_beside_decoder(&adapter.stack) {
            return Ok(());
        }
        let feature = format!("only modules of `{}`, through which text does not pass", adapter.stack);
        Err(AdapterError::CannotEvaluate { path: adapter.path.clone(), feature }.into())
    }

    /// The name of the module outside the layers that an adapter has a weight of, under whatever name; `None` if there is none.
    pub fn name_outside(&self, adapter: &Adapter, module: &str) -> Option<String> {
        match self.place(adapter, module) {
            Place::Outside(outside) => self.names.class().outside(outside, self.config.family.outer),
            _ => None,
        }
    }

    /// Whether a stack of layers is that of an encoder of images or sound rather than the decoder's.
    pub(super) fn is_beside_decoder(&self, stack: &str) -> bool {
        is_of_tower(stack) && !self.names.is_decoder(stack)
    }

    fn has_in_layer(&self, adapter: &Adapter, module: &Module, layer: usize) -> bool {
        self.layer_has(layer, adapter.inside_layer(module.configured_name(), layer))
    }

    /// Whether another part of the model than the decoder has a module. A GGUF file holds the decoder only, and does not tell.
    fn has_elsewhere(&self, name: &str) -> bool {
        if self.weights.is_gguf() {
            return true;
        }
        name.strip_prefix(self.names.class().beside_decoder()).is_some_and(|inside| self.weights.has_elsewhere(inside))
    }

    /// The name under which the class that loads the model has the module.
    fn needed(&self, adapter: &Adapter, module: &Module) -> Option<String> {
        let (class, outer) = (self.names.class(), self.config.family.outer);
        if let Some(layer) = module.layer.filter(|_| !self.is_beside_decoder(&adapter.stack)) {
            let name = || format!("{}.{layer}.{}", class.stack, adapter.inside_layer(&module.name, layer));
            return self.has_in_layer(adapter, module, layer).then(name);
        }
        if is_of_tower(&module.name) {
            let beside = class.beside_decoder();
            let inside = module.name.strip_prefix(beside).unwrap_or(&module.name);
            return Some(format!("{beside}{inside}")).filter(|name| self.has_elsewhere(name));
        }
        let outside = outer.module_of(&module.name).or_else(|| Outside::head_by_another_name(&module.name))?;
        class.outside(outside, outer)
    }

    /// Where this model has a module of an adapter, by the names of the class that the adapter was trained on, which its own stack
    /// tells.
    pub(super) fn place(&self, adapter: &Adapter, module: &str) -> Place {
        if let Some(layer) = adapter.layer_of(module).filter(|_| !self.is_beside_decoder(&adapter.stack)) {
            return Place::Layer(layer);
        }
        if is_of_tower(module) {
            return Place::Elsewhere;
        }
        let outer = self.config.family.outer;
        let decoder = adapter.stack.strip_suffix(outer.stack).unwrap_or_default().trim_end_matches('.');
        let class = ClassNames::new(decoder, outer);
        let is_named = |outside: &Outside| class.outside(*outside, outer).as_deref() == Some(module);
        let former_head =
            (decoder == "language_model.model" && module == "language_model.lm_head").then_some(Outside::Head);
        let lies_in = |list: &&str| module.starts_with(&format!("{}.", class.inside_decoder(list)));
        let listed = (self.config.altup.is_some() && ALTUP_MAPS.iter().any(lies_in)).then_some(Outside::Listed);
        let named = Outside::ALL.into_iter().find(is_named);
        named.or(former_head).or(listed).map_or(Place::Nowhere, Place::Outside)
    }
}
