//! What a server looks at in an adapter: its modules, and the rank that it needs.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::adapter::targets::{TargetModules, last_segment};
use crate::adapter::{Adapter, Method, Module};
use crate::rewrite::{Cut, Pair};

/// Where a module of an adapter is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModulePlace {
    pub layer: Option<usize>,
    /// Its name inside the layer, or its whole name outside.
    pub name: String,
}

impl ModulePlace {
    pub fn in_layer(layer: usize, name: &str) -> Self {
        Self { layer: Some(layer), name: name.into() }
    }

    pub fn outside(name: &str) -> Self {
        Self { layer: None, name: name.into() }
    }
}

/// Its name for people.
impl fmt::Display for ModulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "{layer}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An adapter as a server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedAdapter {
    pub modules: BTreeSet<ModulePlace>,
    /// The types that its configuration names.
    pub types: BTreeSet<String>,
    /// The rank that its buffers need. Servers take it from the configuration, whose `r` counts even where no module has it.
    pub rank: usize,
}

impl ServedAdapter {
    /// `None` if it is more than LoRA on linear modules and embeddings.
    pub fn of(adapter: &Adapter) -> Option<Self> {
        Self::new(adapter, &adapter.config.raw, |_| true)
    }

    /// What a cut keeps of its adapter.
    pub fn of_cut(cut: &Cut) -> Option<Self> {
        Self::new(cut.adapter(), &cut.config(), |module| cut.keeps(&module.name))
    }

    fn new(adapter: &Adapter, config: &Map<String, Value>, keeps: impl Fn(&Module) -> bool) -> Option<Self> {
        if adapter.config.method != Method::Lora || adapter.config.flag("use_dora") {
            return None;
        }
        let kept: Vec<&Module> = adapter.modules().values().filter(|module| keeps(module)).collect();
        let ranks = kept.iter().map(|module| Pair::rank_of(adapter, module)).collect::<Option<Vec<_>>>()?;
        let number = |value: &Value| value.as_u64().map(|number| number as usize);
        let patterns = config.get("rank_pattern").and_then(Value::as_object).into_iter().flat_map(Map::values);
        let configured = config.get("r").into_iter().chain(patterns).filter_map(number);
        let place = |module: &&Module| match module.layer {
            Some(layer) => ModulePlace::in_layer(layer, adapter.inside_layer(&module.name, layer)),
            None => ModulePlace::outside(&module.name),
        };
        let types = match &adapter.config.targets.modules {
            TargetModules::List(_) => config.get("target_modules").and_then(Value::as_array),
            _ => None,
        };
        let types = types.into_iter().flatten().filter_map(Value::as_str).map(last_segment);
        Some(Self {
            modules: kept.iter().map(place).collect(),
            types: types.map(String::from).collect(),
            rank: ranks.into_iter().chain(configured).max()?,
        })
    }
}
