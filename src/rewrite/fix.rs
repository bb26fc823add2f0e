//! Writing an adapter of another layout as PEFT saves it: clean names, one file, a configuration that names exactly the modules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fold;
use super::restrict::restrict;
use super::write::{self, NewTensor};
use crate::adapter::foreign::{LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter};
use crate::adapter::names::{MOST_LAYERS, stack_and_layer};
use crate::adapter::targets::last_segment;
use crate::adapter::{AdapterConfig, Method, config, has_encoder_and_decoder};
use crate::error::{FixError, Result};
use crate::files::Staging;

/// What precedes the name of a module in PEFT's names.
const PREFIX: &str = "base_model.model.";

/// An adapter to be written, with the names that its modules have in the base model.
#[derive(Debug)]
pub struct Fix<'a> {
    pub stored: &'a StoredAdapter,
    pub mapping: &'a Mapping,
    /// New names of modules by those of the mapping, where they differ.
    pub moved: BTreeMap<String, String>,
    pub base: FixTarget,
}

/// What is known of the base model that the adapter is written for.
#[derive(Debug, Default)]
pub struct FixTarget {
    /// As the user named it. Configurations of other layouts may name a conversion of it.
    pub name: Option<String>,
    pub layers: Option<usize>,
    /// The name of the list of its layers, if the adapter has modules in it.
    pub stack: Option<String>,
    /// Whether it has other stacks of layers, whose modules may have the same names.
    pub is_multimodal: bool,
}

/// The rank, alpha and scaling of a module, by its name in the mapping.
type NumbersOf<'a> = Box<dyn Fn(&String) -> (usize, f64, f64) + 'a>;

/// A module of the adapter with its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedModule {
    /// Its name in the base model.
    pub name: String,
    pub rank: usize,
    pub alpha: f64,
    /// The factor on B · A.
    pub scaling: f64,
}

impl<'a> Fix<'a> {
    pub fn new(stored: &'a StoredAdapter, mapping: &'a Mapping) -> Self {
        Self { stored, mapping, moved: BTreeMap::new(), base: FixTarget::default() }
    }

    /// A tensor's name in the written file.
    pub fn name_of(&self, tensor: &MappedTensor) -> String {
        let module = tensor.module();
        let moved = self.moved.get(&module).and_then(|new| {
            let rest = tensor.name.strip_prefix(PREFIX)?.strip_prefix(&module)?;
            Some(format!("{PREFIX}{new}{rest}"))
        });
        moved.unwrap_or_else(|| tensor.name.clone())
    }

    /// The modules that are wrapped, by their names in the base model.
    pub fn modules(&self) -> Result<Vec<FixedModule>> {
        let wrapped: BTreeSet<String> =
            self.mapping.tensors.iter().filter(|tensor| tensor.key().is_wrapped()).map(MappedTensor::module).collect();
        let ranks = self.ranks()?;
        let numbers: NumbersOf = match &self.mapping.config {
            MappedConfig::Kept(raw) => {
                let config = AdapterConfig::from_json(Value::Object(raw.clone()), &self.stored.config_path())?;
                Box::new(move |module| (config.rank_of(module), config.alpha_of(module), config.scaling_of(module)))
            }
            MappedConfig::Lora(settings) => Box::new(move |module| {
                let rank = ranks.get(module).copied().unwrap_or(1);
                let alpha = settings.alpha.of(module, rank);
                (rank, alpha, alpha / rank as f64)
            }),
        };
        let fixed = |module: String| {
            let (rank, alpha, scaling) = numbers(&module);
            FixedModule { name: self.moved.get(&module).cloned().unwrap_or(module), rank, alpha, scaling }
        };
        Ok(wrapped.into_iter().map(fixed).collect())
    }

    /// The ranks of the modules, by their names in the mapping, as the first factors have them.
    fn ranks(&self) -> Result<BTreeMap<String, usize>> {
        let mut ranks = BTreeMap::new();
        for tensor in self.mapping.tensors.iter().filter(|tensor| tensor.key().part.is_first_factor()) {
            let (shape, _) = self.values(tensor)?;
            ranks.insert(tensor.module(), shape.first().copied().unwrap_or(1));
        }
        Ok(ranks)
    }

    /// The shape and the bytes of a tensor in PEFT's order.
    pub fn values(&self, tensor: &MappedTensor) -> Result<(Vec<usize>, std::borrow::Cow<'a, [u8]>)> {
        let values = tensor.values(&self.stored.weights)?;
        Ok(values.ok_or_else(|| {
            let reason = format!("tensor `{}` has not the shape of a factor", tensor.source);
            FixError::Ambiguous { path: self.stored.path.clone(), reason }
        })?)
    }

    /// Writes the whole folder into `staging`.
    pub fn write(&self, staging: &Staging) -> Result<()> {
        staging.json(config::FILE_NAME, &self.config()?)?;
        if let Some(folder) = self.stored.folder() {
            write::copy_sidecars(folder, staging)?;
        }
        let tensor = |tensor: &MappedTensor| -> Result<NewTensor> {
            let (shape, bytes) = self.values(tensor)?;
            let dtype = write::dtype(self.stored.weights.entry(&tensor.source)?);
            Ok(NewTensor { name: self.name_of(tensor).into(), dtype, shape, bytes })
        };
        let mut tensors = self.mapping.tensors.iter().map(tensor).collect::<Result<Vec<_>>>()?;
        tensors.sort_by(|one, other| one.name.cmp(&other.name));
        write::write_tensors(staging, &tensors)
    }

    /// The list of the decoder's layers in the written names, where the base model tells it.
    pub fn stack(&self) -> Option<&str> {
        self.base.stack.as_deref()
    }

    /// `adapter_config.json`
    pub fn config(&self) -> Result<Map<String, Value>> {
        match &self.mapping.config {
            MappedConfig::Kept(raw) if self.moved.is_empty() => Ok(raw.clone()),
            MappedConfig::Kept(raw) => self.moved_config(raw.clone()),
            MappedConfig::Lora(settings) => self.lora_config(settings),
        }
    }

    /// PEFT's configuration of plain LoRA.
    fn lora_config(&self, settings: &LoraSettings) -> Result<Map<String, Value>> {
        let modules = self.modules()?;
        let rank = fold::most_common(modules.iter().map(|module| module.rank as f64)) as usize;
        let alpha = fold::most_common(modules.iter().map(|module| module.alpha));
        let base = self.base.name.as_ref().or(settings.base_model.as_ref());
        let names = modules.iter().map(|module| module.name.as_str());
        let task = if has_encoder_and_decoder(names) { "SEQ_2_SEQ_LM" } else { "CAUSAL_LM" };
        let raw = json!({
            "peft_type": Method::Lora.peft_type(),
            "task_type": task,
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": number(alpha),
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "r": rank,
            "rank_pattern": {},
            "alpha_pattern": {},
            "target_modules": [],
            "use_dora": settings.use_dora,
            "use_rslora": false,
        });
        let Value::Object(mut raw) = raw else { return Ok(Map::new()) };
        set_patterns(&mut raw, &modules, rank, alpha);
        self.set_targets(&mut raw, &modules, settings.layers.or(self.base.layers));
        Ok(raw)
    }

    /// A configuration of PEFT for modules with new names.
    fn moved_config(&self, mut raw: Map<String, Value>) -> Result<Map<String, Value>> {
        let modules = self.modules()?;
        let path = self.stored.config_path();
        let config = AdapterConfig::from_json(Value::Object(raw.clone()), &path)?;
        let has_patterns = ["rank_pattern", "alpha_pattern"].iter().any(|key| config.flag(key));
        if let (true, Some(rank), Some(alpha)) = (has_patterns, config.rank, config.alpha) {
            set_patterns(&mut raw, &modules, rank, alpha);
        }
        // All modules are named, so that nothing is left to exclude.
        raw.get_mut("exclude_modules").map(Value::take);
        self.set_targets(&mut raw, &modules, self.base.layers);
        if let Some(Value::Array(saved)) = raw.get_mut("modules_to_save") {
            for name in saved.iter_mut() {
                if let Some(new) = name.as_str().and_then(|name| self.moved.get(name)) {
                    *name = json!(new);
                }
            }
        }
        Ok(raw)
    }

    /// Names the modules: by the ends of their names where that selects no others, else in full.
    fn set_targets(&self, raw: &mut Map<String, Value>, modules: &[FixedModule], layers: Option<usize>) {
        let kept: BTreeSet<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        for key in ["layers_to_transform", "layers_pattern"] {
            raw.get_mut(key).map(Value::take);
        }
        if self.base.is_multimodal {
            raw.insert("target_modules".into(), json!(kept));
            return;
        }
        let ends: BTreeSet<&str> = kept.iter().map(|module| last_segment(module)).collect();
        raw.insert("target_modules".into(), json!(ends));
        let possible = possible_modules(&kept, layers);
        let all = possible.iter().map(String::as_str).chain(kept.iter().copied()).collect::<BTreeSet<&str>>();
        if all != kept {
            restrict(raw, &all, &kept, Method::Lora);
        }
    }
}

/// The modules that each layer would have if all layers were alike. Where the number of layers is not known, there may be more than
/// the adapter has, so that the layers are listed.
fn possible_modules(modules: &BTreeSet<&str>, layers: Option<usize>) -> BTreeSet<String> {
    let places = modules.iter().filter_map(|module| {
        let (stack, layer) = stack_and_layer(module)?;
        Some((stack, layer, module[stack.len() + 1..].split_once('.')?.1))
    });
    let places: Vec<(&str, usize, &str)> = places.collect();
    let last = places.iter().map(|(_, layer, _)| *layer).max().unwrap_or(0);
    let count = layers.map_or(last + 2, |layers| layers.max(last + 1)).min(MOST_LAYERS);
    let kinds: BTreeSet<(&str, &str)> = places.into_iter().map(|(stack, _, inside)| (stack, inside)).collect();
    let of_layer = |layer: usize| kinds.iter().map(move |(stack, inside)| format!("{stack}.{layer}.{inside}"));
    (0..count).flat_map(of_layer).collect()
}

/// Lists the modules whose numbers differ from those of the configuration.
fn set_patterns(raw: &mut Map<String, Value>, modules: &[FixedModule], rank: usize, alpha: f64) {
    let ranks = modules.iter().filter(|module| module.rank != rank);
    let ranks: Map<String, Value> = ranks.map(|module| (module.name.clone(), json!(module.rank))).collect();
    let alphas = modules.iter().filter(|module| module.alpha != alpha);
    let alphas: Map<String, Value> = alphas.map(|module| (module.name.clone(), number(module.alpha))).collect();
    raw.insert("rank_pattern".into(), Value::Object(ranks));
    raw.insert("alpha_pattern".into(), Value::Object(alphas));
}

/// A whole number as such: some runtimes read no others.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
