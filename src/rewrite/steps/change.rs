//! How far what a step wrote is from what was there: ‖ΔW − ΔW'‖ / ‖ΔW‖.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::pair::Pair;
use crate::adapter::Adapter;
use crate::adapter::names::Part;
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
    type Parts<'a> = BTreeMap<Part, &'a str>;
    let measure = |module: &String, before: &Parts, after: &Parts| -> Result<Option<ModuleChange>> {
        let before = Pair::load(original, module, before)?;
        let Some((before, after)) = before.zip(Pair::load(reduced, module, after)?) else { return Ok(None) };
        let distance = before.distance(&after);
        Ok(distance.map(|distance| ModuleChange { module: module.clone(), norm: before.norm(), distance }))
    };
    let (before, after) = (original.modules(), reduced.modules());
    let measured =
        after.par_iter().filter_map(|(module, parts)| measure(module, before.get(module)?, parts).transpose());
    measured.collect()
}

/// The relative change of all modules together.
pub fn relative(changes: &[ModuleChange]) -> f64 {
    let root = |of: fn(&ModuleChange) -> f64| changes.iter().map(|module| of(module).powi(2)).sum::<f64>().sqrt();
    share(root(|module| module.distance), root(|module| module.norm))
}

/// The module that changed most.
pub fn largest(changes: &[ModuleChange]) -> Option<&ModuleChange> {
    changes.iter().max_by(|one, other| one.relative().total_cmp(&other.relative()))
}

/// Nothing that stays nothing has not changed.
fn share(distance: f64, norm: f64) -> f64 {
    if distance == 0.0 { 0.0 } else { distance / norm }
}
