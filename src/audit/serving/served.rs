//! What a server looks at in an adapter: its modules, and the rank that it needs.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::adapter::targets::{TargetModules, last_segment};
use crate::adapter::{Adapter, Method, Module};
use crate::rewrite::{Cut, Pair};

/// An adapter as a server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedAdapter {
    /// The layers of its modules, if they are in one, and their names inside it, or else whole.
    pub modules: BTreeSet<(Option<usize>, String)>,
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
            Some(layer) => (Some(layer), adapter.inside_layer(&module.name, layer).to_string()),
            None => (None, module.name.clone()),
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

    /// A module's name for people.
    pub fn name(module: &(Option<usize>, String)) -> String {
        match module {
            (Some(layer), inside) => format!("{layer}.{inside}"),
            (None, name) => name.clone(),
        }
    }
}
