//! Proving that one adapter is another one with layers taken out, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Adapter;
use crate::error::Result;

/// Something that a cut would not have done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("tensor `{0}` differs in its bytes")]
    Bytes(String),
    #[error("tensor `{0}` differs in its shape or type")]
    Shape(String),
    #[error("tensor `{0}` is not in the original")]
    Added(String),
    #[error("tensor `{name}` is missing, but layer {layer} is kept")]
    MissingInKeptLayer { name: String, layer: usize },
    #[error("tensor `{0}` is missing, but it belongs to no layer and is always kept")]
    MissingOutside(String),
    #[error("layer {layer} is kept, but lower layers are dropped from {dropped} on")]
    NotABoundary { layer: usize, dropped: usize },
    #[error("adapter_config.json names module `{0}`, which has no tensors")]
    ConfigNamesAbsent(String),
    #[error("adapter_config.json does not name module `{0}`, which has tensors")]
    ConfigMisses(String),
    #[error("adapter_config.json selects its modules in a way that only PEFT can resolve")]
    ConfigUnresolved,
    #[error("`{0}` in adapter_config.json differs from the original")]
    ConfigKey(String),
}

/// The keys of the configuration that a cut may change.
const SELECTION_KEYS: [&str; 8] = [
    "target_modules",
    "target_parameters",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "feedforward_modules",
];

/// Every difference between `slimmed` and a cut of `original` to the layers that `slimmed` has. With `any_layers`
/// the kept layers need not be those below one boundary.
pub fn compare(original: &Adapter, slimmed: &Adapter, any_layers: bool) -> Result<Vec<Difference>> {
    let kept = slimmed.layers();
    let mut differences = compare_tensors(original, slimmed, &kept)?;
    let dropped = original.layers().difference(&kept).next().copied();
    if let (Some(dropped), Some(&layer)) = (dropped, kept.last())
        && layer > dropped
        && !any_layers
    {
        differences.push(Difference::NotABoundary { layer, dropped });
    }
    differences.extend(compare_configs(original, slimmed));
    Ok(differences)
}

fn compare_tensors(original: &Adapter, slimmed: &Adapter, kept: &BTreeSet<usize>) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for tensor in original.tensors() {
        let name = tensor.name.to_string();
        let Some(entry) = slimmed.weights.get(&name) else {
            match original.layer_of(&tensor.key.module) {
                None => differences.push(Difference::MissingOutside(name)),
                Some(layer) if kept.contains(&layer) => {
                    differences.push(Difference::MissingInKeptLayer { name, layer });
                }
                Some(_) => {}
            }
            continue;
        };
        if (&entry.shape, entry.encoding) != (&tensor.entry.shape, tensor.entry.encoding) {
            differences.push(Difference::Shape(name));
        } else if original.weights.bytes(&name)? != slimmed.weights.bytes(&name)? {
            differences.push(Difference::Bytes(name));
        }
    }
    let added = slimmed.weights.iter().filter(|(name, _)| original.weights.get(name).is_none());
    differences.extend(added.map(|(name, _)| Difference::Added(name.into())));
    Ok(differences)
}

fn compare_configs(original: &Adapter, slimmed: &Adapter) -> Vec<Difference> {
    let mut differences = Vec::new();
    let present = slimmed.modules();
    let all: BTreeSet<String> = original.modules().into_keys().chain(present.keys().cloned()).collect();
    let identical = original.config == slimmed.config && present.len() == all.len();
    for module in all.iter().filter(|_| !identical) {
        match (slimmed.config.targets.matches(module), present.contains_key(module)) {
            (Some(true), false) => differences.push(Difference::ConfigNamesAbsent(module.clone())),
            (Some(false), true) => differences.push(Difference::ConfigMisses(module.clone())),
            (None, _) => {
                differences.push(Difference::ConfigUnresolved);
                break;
            }
            _ => {}
        }
    }
    let (before, after) = (&original.config.raw, &slimmed.config.raw);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = |key: &&String| before.get(*key).unwrap_or(&Value::Null) != after.get(*key).unwrap_or(&Value::Null);
    let fixed = keys.into_iter().filter(|key| !SELECTION_KEYS.contains(&key.as_str())).filter(changed);
    differences.extend(fixed.map(|key| Difference::ConfigKey(key.clone())));
    for module in present.keys() {
        let scaled = |adapter: &Adapter| {
            let name = adapter.parameter_of(module).unwrap_or(module.clone());
            (adapter.config.scaling_of(&name), adapter.config.rank_of(&name))
        };
        if scaled(original) != scaled(slimmed) {
            differences.push(Difference::ConfigKey(format!("rank or scaling of {module}")));
        }
    }
    differences
}
