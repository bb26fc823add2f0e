//! What steps did to the ranks and to ΔW of an adapter: ‖ΔW − ΔW'‖ / ‖ΔW‖.

use std::collections::BTreeMap;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::pair::Pair;
use crate::adapter::Adapter;
use crate::error::Result;

/// The change of one module's ΔW.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleChange {
    pub module: String,
    /// ‖ΔW‖ before.
    norm: f64,
    /// ‖ΔW − ΔW'‖
    distance: f64,
}

impl ModuleChange {
    pub fn relative(&self) -> f64 {
        share(self.distance, self.norm)
    }
}

/// The changes of the modules that `reduced` has, where both adapters have a plain pair of the same sizes.
pub fn changes(original: &Adapter, reduced: &Adapter) -> Result<Vec<ModuleChange>> {
    let measure = |name: &String| -> Result<Option<ModuleChange>> {
        let Some(before) = original.modules().get(name) else { return Ok(None) };
        let Some(before) = Pair::load(original, before)? else { return Ok(None) };
        let Some(after) = Pair::load(reduced, &reduced.modules()[name])? else { return Ok(None) };
        let distance = before.distance(&after);
        Ok(distance.map(|distance| ModuleChange { module: name.clone(), norm: before.norm(), distance }))
    };
    let names: Vec<&String> = reduced.modules().keys().collect();
    names.into_par_iter().filter_map(|name| measure(name).transpose()).collect()
}

/// ‖ΔW − ΔW'‖ / ‖ΔW‖, against the adapter after the cut.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeltaChange {
    /// Over all modules together.
    pub relative: f64,
    pub largest: f64,
    /// The module of the largest.
    pub largest_module: String,
}

impl DeltaChange {
    /// The change from one adapter to another; `None` where they have no comparable pairs.
    pub fn between(original: &Adapter, reduced: &Adapter) -> Result<Option<Self>> {
        let changes = changes(original, reduced)?;
        let root = |of: fn(&ModuleChange) -> f64| changes.iter().map(|module| of(module).powi(2)).sum::<f64>().sqrt();
        let relative = share(root(|module| module.distance), root(|module| module.norm));
        let largest = changes.iter().max_by(|one, other| one.relative().total_cmp(&other.relative()));
        Ok(largest.map(|module| {
            let (largest, largest_module) = (module.relative(), module.module.clone());
            Self { relative, largest, largest_module }
        }))
    }
}

/// A change of nothing from nothing is no change.
fn share(distance: f64, norm: f64) -> f64 {
    if distance == 0.0 { 0.0 } else { distance / norm }
}

/// The ranks of modules of one type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RankSummary {
    pub module_type: String,
    pub modules: usize,
    pub least: usize,
    pub most: usize,
    pub mean: f64,
}

impl RankSummary {
    /// The ranks of the plain pairs of an adapter, by type of module.
    pub fn of(adapter: &Adapter) -> Vec<Self> {
        let mut by_type: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for module in adapter.modules().values() {
            if let Some(rank) = Pair::rank_of(adapter, module) {
                by_type.entry(module.last_segment()).or_default().push(rank);
            }
        }
        let summary = |(module_type, ranks): (&str, Vec<usize>)| Self {
            module_type: module_type.into(),
            modules: ranks.len(),
            least: ranks.iter().copied().min().unwrap_or(0),
            most: ranks.iter().copied().max().unwrap_or(0),
            mean: ranks.iter().sum::<usize>() as f64 / ranks.len() as f64,
        };
        by_type.into_iter().map(summary).collect()
    }
}
