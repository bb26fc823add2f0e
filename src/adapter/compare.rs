//! Proving that one adapter is another one with layers taken out, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::keys::Part;
use super::steps::change;
use super::{Adapter, AdapterTensor};
use crate::error::Result;

/// Something that a cut would not have done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Difference {
    #[error("tensor `{0}` differs in its bytes")]
    Bytes(String),
    #[error("tensor `{0}` differs in its shape or type")]
    Shape(String),
    #[error(
        "{tensors} tensors have another rank or type, `{first}` among them; to compare what they do instead of their bytes, \
         pass `--tolerance`"
    )]
    Reduced { tensors: usize, first: String },
    #[error("the ΔW of `{module}` differs by {:.3} % of its norm", relative * 100.0)]
    Delta { module: String, relative: f64 },
    #[error("tensor `{name}` differs by {:.3} % of its norm", relative * 100.0)]
    Values { name: String, relative: f64 },
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

/// Those that `--rank` may change too.
const RANK_KEYS: [&str; 4] = ["r", "lora_alpha", "use_rslora", "init_lora_weights"];

/// What a cut may differ in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Kept layers that are not those below one boundary, and layers of which only some modules are kept.
    pub any_layers: bool,
    /// Other ranks and types: the share of its norm by which the ΔW of each module, and any other tensor, may differ.
    pub tolerance: Option<f64>,
}

/// Every difference between `slimmed` and a cut of `original` to the layers that `slimmed` has, but those
/// that are `allowed`.
pub fn compare(original: &Adapter, slimmed: &Adapter, allowed: Allowed) -> Result<Vec<Difference>> {
    let kept = slimmed.layers();
    let mut differences = compare_names(original, slimmed, allowed.any_layers);
    let values = match allowed.tolerance {
        Some(tolerance) => compare_values(original, slimmed, tolerance)?,
        None => compare_bytes(original, slimmed)?,
    };
    let is_reduced =
        allowed.tolerance.is_some() || values.iter().any(|value| matches!(value, Difference::Reduced { .. }));
    differences.extend(values);
    let dropped = original.layers().difference(&kept).next().copied();
    if let (Some(dropped), Some(&layer)) = (dropped, kept.last())
        && layer > dropped
        && !allowed.any_layers
    {
        differences.push(Difference::NotABoundary { layer, dropped });
    }
    differences.extend(compare_configs(original, slimmed, is_reduced));
    Ok(differences)
}

/// Tensors that only one of the two has, and should not.
fn compare_names(original: &Adapter, slimmed: &Adapter, any_layers: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (kept, modules) = (slimmed.layers(), slimmed.tensors().map(|tensor| tensor.key.module));
    let modules: BTreeSet<String> = modules.collect();
    for tensor in original.tensors().filter(|tensor| slimmed.weights.get(tensor.name).is_none()) {
        let name = tensor.name.to_string();
        // Where any layers may be missing, so may any modules, but not a part of one.
        let is_allowed = any_layers && !modules.contains(&tensor.key.module);
        match original.layer_of(&tensor.key.module) {
            None => differences.push(Difference::MissingOutside(name)),
            Some(layer) if kept.contains(&layer) && !is_allowed => {
                differences.push(Difference::MissingInKeptLayer { name, layer });
            }
            Some(_) => {}
        }
    }
    let added = slimmed.weights.iter().filter(|(name, _)| original.weights.get(name).is_none());
    differences.extend(added.map(|(name, _)| Difference::Added(name.into())));
    differences
}

/// Tensors of both that are not the same bytes.
fn compare_bytes(original: &Adapter, slimmed: &Adapter) -> Result<Vec<Difference>> {
    let (mut differences, mut reduced) = (Vec::new(), Vec::new());
    for tensor in original.tensors() {
        let Some(entry) = slimmed.weights.get(tensor.name) else { continue };
        let name = tensor.name.to_string();
        let is_same_form = (&entry.shape, entry.encoding) == (&tensor.entry.shape, tensor.entry.encoding);
        if !is_same_form && without_rank(&tensor, &entry.shape) == without_rank(&tensor, &tensor.entry.shape) {
            reduced.push(name);
        } else if !is_same_form {
            differences.push(Difference::Shape(name));
        } else if original.weights.bytes(&name)? != slimmed.weights.bytes(&name)? {
            differences.push(Difference::Bytes(name));
        }
    }
    let tensors = reduced.len();
    differences.extend(reduced.into_iter().next().map(|first| Difference::Reduced { tensors, first }));
    Ok(differences)
}

/// The sizes of a tensor that no step changes.
fn without_rank(tensor: &AdapterTensor, shape: &[usize]) -> Vec<usize> {
    let rank = match tensor.key.part {
        Part::LoraA | Part::EmbeddingA => Some(0),
        Part::LoraB | Part::EmbeddingB => Some(1),
        _ => None,
    };
    shape.iter().enumerate().filter(|(place, _)| Some(*place) != rank).map(|(_, &size)| size).collect()
}

/// Modules, and tensors that are no pairs, that differ by more than `tolerance`.
fn compare_values(original: &Adapter, slimmed: &Adapter, tolerance: f64) -> Result<Vec<Difference>> {
    let changes = change::changes(original, slimmed)?;
    let pairs: BTreeSet<&str> = changes.iter().map(|change| change.module.as_str()).collect();
    let moved = changes.iter().filter(|change| change.relative() > tolerance);
    let moved = moved.map(|change| Difference::Delta { module: change.module.clone(), relative: change.relative() });
    let mut differences: Vec<Difference> = moved.collect();
    for tensor in original.tensors() {
        let is_factor = !matches!(tensor.key.part, Part::LoraBias | Part::Magnitude) && tensor.key.is_wrapped();
        let Some(entry) = slimmed.weights.get(tensor.name) else { continue };
        if is_factor && pairs.contains(tensor.key.module.as_str()) {
            continue;
        }
        let name = tensor.name.to_string();
        if entry.shape != tensor.entry.shape {
            differences.push(Difference::Shape(name));
            continue;
        }
        let relative = distance_of_values(original, slimmed, &tensor)?;
        if relative > tolerance {
            differences.push(Difference::Values { name, relative });
        }
    }
    Ok(differences)
}

/// ‖x − x'‖ / ‖x‖ of a tensor, where a bias of `lora_B` counts with its scaling.
fn distance_of_values(original: &Adapter, slimmed: &Adapter, tensor: &AdapterTensor) -> Result<f64> {
    if original.weights.bytes(tensor.name)? == slimmed.weights.bytes(tensor.name)? && tensor.key.part != Part::LoraBias
    {
        return Ok(0.0);
    }
    let load = |adapter: &Adapter| -> Result<Vec<f64>> {
        let is_scaled = tensor.key.part == Part::LoraBias;
        let factor = if is_scaled { adapter.config.scaling_of(&tensor.key.module) } else { 1.0 };
        let values = adapter.weights.load_finite(tensor.name)?;
        Ok(values.into_iter().map(|value| f64::from(value) * factor).collect())
    };
    let (before, after) = (load(original)?, load(slimmed)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let distance = norm(&mut before.iter().zip(&after).map(|(before, after)| before - after));
    Ok(if distance == 0.0 { 0.0 } else { distance / norm(&mut before.iter().copied()) })
}

/// Differences of the configurations; of an adapter that `is_reduced` ranks and scalings may differ.
fn compare_configs(original: &Adapter, slimmed: &Adapter, is_reduced: bool) -> Vec<Difference> {
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
    let may_change = |key: &str| SELECTION_KEYS.contains(&key) || is_reduced && RANK_KEYS.contains(&key);
    let fixed = keys.into_iter().filter(|key| !may_change(key)).filter(changed);
    differences.extend(fixed.map(|key| Difference::ConfigKey(key.clone())));
    for module in present.keys().filter(|_| !is_reduced) {
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
