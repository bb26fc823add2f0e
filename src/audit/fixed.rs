//! Proof that an adapter is what the files of another layout stand for: each value in its place, each number of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::flaws::Flaw;
use super::runtimes::base_facts::BaseFacts;
use crate::adapter::Adapter;
use crate::adapter::foreign::MappedConfig;
use crate::adapter::names::{Key, stack_and_layer};
use crate::adapter::targets::last_segment;
use crate::error::Result;
use crate::rewrite::Fix;

/// A difference between what files stand for and a PEFT adapter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FixDifference {
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("tensor `{0}` is not in the original")]
    Added(String),
    #[error("tensor `{0}` differs in its shape or type")]
    Shape(String),
    #[error("tensor `{name}` has not the values of `{source_name}`")]
    Values { name: String, source_name: String },
    #[error(
        "module `{module}` has rank {rank} and scaling {scaling}, but {expected_rank} and {expected_scaling} in the original"
    )]
    Scaling { module: String, rank: usize, scaling: f64, expected_rank: usize, expected_scaling: f64 },
    #[error("adapter_config.json does not name module `{0}`, which has tensors")]
    ConfigMisses(String),
    #[error("`{0}` in adapter_config.json differs from the original")]
    ConfigKey(String),
    #[error("{0}")]
    Flaw(Flaw),
}

/// The keys that select modules, which mending may write otherwise; modules are compared one by one.
const SELECTION_KEYS: [&str; 7] = [
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];

/// Where a tensor lies, whatever precedes the layers: the layer, the name behind it, and the part.
fn place(name: &str) -> (Option<usize>, String) {
    let key = Key::parse(name, None);
    let rest = name.rsplit_once(&key.module).map_or("", |(_, rest)| rest);
    match stack_and_layer(&key.module) {
        Some((stack, layer)) => (Some(layer), format!("{}{rest}", &key.module[stack.len()..])),
        None => (None, format!("{}{rest}", last_segment(&key.module))),
    }
}

/// Every difference between what `fix` writes and `fixed`. Names may differ in what precedes the layers, unless the base model is
/// known.
pub fn compare(fix: &Fix, fixed: &Adapter) -> Result<Vec<FixDifference>> {
    let is_exact = fix.base.layers.is_some();
    let names: BTreeSet<&str> = fixed.tensors().map(|tensor| tensor.name).collect();
    let present: BTreeMap<_, &str> = names.iter().map(|&name| (place(name), name)).collect();
    // Several stacks may have the same layers and modules, so that the same name comes first.
    let find = |name: &str| {
        let same_place = || if is_exact { None } else { present.get(&place(name)).copied() };
        names.get(name).copied().or_else(same_place)
    };
    let (mut differences, mut matched) = (Vec::new(), BTreeSet::new());
    for tensor in &fix.mapping.tensors {
        let name = fix.name_of(tensor);
        let Some(found) = find(&name) else {
            differences.push(FixDifference::Missing(name));
            continue;
        };
        matched.insert(found);
        let (shape, bytes) = fix.values(tensor)?;
        let entry = fixed.weights.entry(found)?;
        if entry.shape != shape || entry.dtype() != fix.stored.weights.entry(&tensor.source)?.dtype() {
            differences.push(FixDifference::Shape(found.into()));
        } else if fixed.weights.bytes(found)? != &*bytes {
            let (name, source_name) = (found.into(), tensor.source.clone());
            differences.push(FixDifference::Values { name, source_name });
        }
    }
    let added = fixed.tensors().filter(|tensor| !matched.contains(tensor.name));
    differences.extend(added.map(|tensor| FixDifference::Added(tensor.name.into())));
    differences.extend(compare_configs(fix, fixed)?);
    Ok(differences)
}

fn compare_configs(fix: &Fix, fixed: &Adapter) -> Result<Vec<FixDifference>> {
    let mut differences = Vec::new();
    let modules: BTreeMap<_, _> = fixed.modules().values().map(|module| (place(&module.name), module)).collect();
    for expected in fix.modules()? {
        let same_place = || modules.get(&place(&expected.name)).copied();
        let Some(module) = fixed.modules().get(&expected.name).or_else(same_place) else { continue };
        let configured = module.configured_name();
        let (rank, scaling) = (fixed.config.rank_of(configured), fixed.config.scaling_of(configured));
        let is_close = (scaling - expected.scaling).abs() <= 1e-12 * expected.scaling.abs();
        if module.parameter.is_none() && (rank != expected.rank || !is_close) {
            differences.push(FixDifference::Scaling {
                module: module.name.clone(),
                rank,
                scaling,
                expected_rank: expected.rank,
                expected_scaling: expected.scaling,
            });
        }
        if fixed.config.targets.matches(&module.name) == Some(false) {
            differences.push(FixDifference::ConfigMisses(module.name.clone()));
        }
    }
    let after = &fixed.config.raw;
    match &fix.mapping.config {
        MappedConfig::Kept(before) => {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let value = |raw: &serde_json::Map<String, Value>, key: &str| raw.get(key).cloned().unwrap_or(Value::Null);
            let changed = |key: &&String| value(before, key) != value(after, key);
            let other = keys.into_iter().filter(|key| !SELECTION_KEYS.contains(&key.as_str())).filter(changed);
            differences.extend(other.map(|key| FixDifference::ConfigKey(key.clone())));
        }
        MappedConfig::Lora(settings) => {
            let is_other = |key: &&&str| fixed.config.flag(key) != (**key == "use_dora" && settings.use_dora);
            // What would change the numbers, if it were set.
            let keys = ["use_dora", "use_rslora", "fan_in_fan_out", "lora_bias", "modules_to_save"];
            differences.extend(keys.iter().filter(is_other).map(|key| FixDifference::ConfigKey((*key).into())));
            let base = BaseFacts { layers: fix.base.layers, ..BaseFacts::default() };
            // The files of other layouts have no flaws of PEFT's configuration that could be kept.
            let flaws = fixed.config_flaws(&base).into_iter().filter(|flaw| !flaw.may_be_meant());
            differences.extend(flaws.map(FixDifference::Flaw));
        }
    }
    Ok(differences)
}
