//! Proof that an adapter is another one without some of its layers, and otherwise the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::dead::{self, ProvenDead};
use super::flaws::{Flaw, one_flaw};
use super::runtimes::base_facts::BaseFacts;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, Method, is_vocabulary};
use crate::error::Result;
use crate::rewrite::changes;
use crate::rewrite::dead_weight::{BaseWeights, DeadWeightSummary};
use crate::rewrite::steps::ADALORA_KEYS;

/// A difference that a cut does not make.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CutDifference {
    #[error("tensor `{0}` differs in its bytes")]
    Bytes(String),
    #[error("tensor `{0}` differs in its shape or type")]
    Shape(String),
    #[error(
        "{tensors} tensors have another rank, type or scaling, `{first}` among them; to compare what they do instead of their \
         bytes, pass `--tolerance`"
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
    #[error("tensor `{name}` is missing, but it belongs to no layer of `{stack}` and is always kept")]
    MissingOutside { name: String, stack: String },
    #[error("module `{0}` holds only zeros, but it is kept")]
    Zeros(String),
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
    #[error("{0}")]
    Flaw(Flaw),
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

/// The keys that `--rank` may change too.
const RANK_KEYS: [&str; 4] = ["r", "lora_alpha", "use_rslora", "init_lora_weights"];

/// How a cut may differ from the original.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowedDifferences {
    /// Kept layers other than those below one boundary, and layers of which only some modules are kept.
    pub any_layers: bool,
    /// Other ranks and types: the share of its norm by which the ΔW of each module, and any other tensor, may differ.
    pub tolerance: Option<f64>,
}

/// An original and its cut, with the tensors that correspond.
struct MatchedAdapters<'a> {
    original: &'a Adapter,
    slimmed: &'a Adapter,
    /// The names in `slimmed` by those that current PEFT gives, which `--portable` writes.
    names: BTreeMap<String, &'a str>,
    /// Modules that hold only zeros in `slimmed` alone (`--pad-zeros`); they count as dropped.
    zeros: BTreeSet<&'a str>,
    /// Modules that hold only zeros, or no values at all, in both.
    nothing: BTreeSet<&'a str>,
    /// What `slimmed` lacks and what changes nothing.
    left_out: ProvenDead,
}

impl<'a> MatchedAdapters<'a> {
    fn new(original: &'a Adapter, slimmed: &'a Adapter) -> Result<Self> {
        let plain = |tensor: AdapterTensor<'a>| (tensor.key.plain_name(tensor.name).into_owned(), tensor.name);
        let names = slimmed.tensors().map(plain).collect();
        let (before, mut zeros) = (zeros(original)?, zeros(slimmed)?);
        let nothing = before.intersection(&zeros).copied().collect();
        zeros.retain(|module| !before.contains(module));
        Ok(Self { original, slimmed, names, zeros, nothing, left_out: ProvenDead::default() })
    }

    /// As [`new`](Self::new), with what changes nothing beside a base model.
    fn with_base(original: &'a Adapter, slimmed: &'a Adapter, base: BaseWeights) -> Result<Self> {
        let mut matched = Self::new(original, slimmed)?;
        let is_missing = |tensor: &AdapterTensor| matched.name_of(tensor).is_none();
        matched.left_out = ProvenDead::find(original, slimmed, base, is_missing)?;
        Ok(matched)
    }

    /// The name in `slimmed` of a tensor of `original`.
    fn name_of(&self, tensor: &AdapterTensor) -> Option<&'a str> {
        self.names.get(&*tensor.key.plain_name(tensor.name)).copied()
    }

    /// The tensors of both that are not zeros, with the name in `slimmed`.
    fn pairs(&self) -> impl Iterator<Item = (AdapterTensor<'a>, &'a str)> {
        let tensors = self.original.tensors().filter(|tensor| !self.zeros.contains(tensor.key.module.as_str()));
        tensors.filter_map(|tensor| self.name_of(&tensor).map(|name| (tensor, name)))
    }

    fn kept_layers(&self) -> BTreeSet<usize> {
        let kept = self.slimmed.tensors().filter(|tensor| !self.zeros.contains(tensor.key.module.as_str()));
        kept.filter_map(|tensor| tensor.layer).collect()
    }

    /// Whether `slimmed` is plain LoRA made of AdaLoRA.
    fn is_made_plain(&self) -> bool {
        (self.original.config.method, self.slimmed.config.method) == (Method::AdaLora, Method::Lora)
    }

    /// The rank and the scaling of a module in `original` and in `slimmed`.
    fn scalings(&self, name: &str) -> [(usize, f64); 2] {
        [self.original, self.slimmed].map(|adapter| {
            let name = adapter.modules().get(name).map_or(name, |module| module.configured_name());
            (adapter.config.rank_of(name), adapter.config.scaling_of(name))
        })
    }
}

/// The modules that add nothing: their second factor holds only zeros, and nothing beside the pair counts without it, such as a
/// magnitude or a bias.
fn zeros(adapter: &Adapter) -> Result<BTreeSet<&str>> {
    let mut zeros = BTreeSet::new();
    for tensor in adapter.tensors().filter(|tensor| tensor.key.part.is_second_factor()) {
        if adapter.weights.bytes(tensor.name)?.iter().all(|&byte| byte == 0) {
            zeros.insert(tensor.key.module.as_str());
        }
    }
    for tensor in adapter.tensors().filter(|tensor| !tensor.key.part.is_second_factor()) {
        let module = tensor.key.module.as_str();
        // Zero times infinity is not zero.
        let is_factor = tensor.key.part.is_first_factor() || tensor.key.part == Part::LoraE;
        if zeros.contains(module) && !(is_factor && adapter.weights.load_finite(tensor.name).is_ok()) {
            zeros.remove(module);
        }
    }
    Ok(zeros)
}

/// The layers of which `slimmed` has more than zeros.
pub fn kept_layers(original: &Adapter, slimmed: &Adapter) -> Result<BTreeSet<usize>> {
    Ok(MatchedAdapters::new(original, slimmed)?.kept_layers())
}

/// What `verify` found.
#[derive(Debug)]
pub struct CutProof {
    /// None if it is proven.
    pub differences: Vec<CutDifference>,
    /// What is missing and changes nothing.
    pub left_out: DeadWeightSummary,
    /// The tensors that have their values in a narrower type.
    pub narrowed: usize,
}

/// Every difference between `slimmed` and a cut of `original` to the layers that `slimmed` has, except those
/// that are `allowed` and what changes nothing, which `base` may show.
pub fn compare(
    original: &Adapter,
    slimmed: &Adapter,
    allowed: AllowedDifferences,
    base: BaseWeights,
) -> Result<CutProof> {
    let matched = MatchedAdapters::with_base(original, slimmed, base)?;
    let kept = matched.kept_layers();
    let mut differences = compare_names(&matched, &kept, allowed);
    let (values, narrowed) = match allowed.tolerance {
        Some(tolerance) => (compare_values(&matched, tolerance)?, 0),
        None => compare_bytes(&matched)?,
    };
    let is_reduced =
        allowed.tolerance.is_some() || values.iter().any(|value| matches!(value, CutDifference::Reduced { .. }));
    differences.extend(values);
    let dropped = original.tensors().filter(|tensor| !matched.left_out.has(tensor.name)).filter_map(|one| one.layer);
    let dropped = dropped.filter(|layer| !kept.contains(layer)).min();
    if let (Some(dropped), Some(&layer)) = (dropped, kept.last())
        && layer > dropped
        && !allowed.any_layers
    {
        differences.push(CutDifference::NotABoundary { layer, dropped });
    }
    differences.extend(compare_configs(&matched, is_reduced));
    Ok(CutProof { differences, left_out: matched.left_out.summary, narrowed })
}

/// Tensors that only one of the two has, though both or neither should.
fn compare_names(matched: &MatchedAdapters, kept: &BTreeSet<usize>, allowed: AllowedDifferences) -> Vec<CutDifference> {
    let MatchedAdapters { original, slimmed, zeros, left_out, .. } = matched;
    let mut differences = Vec::new();
    let modules: BTreeSet<&str> = slimmed.tensors().map(|tensor| tensor.key.module.as_str()).collect();
    let is_folded = |tensor: &AdapterTensor| {
        allowed.tolerance.is_some() && matched.is_made_plain() && tensor.key.part == Part::LoraE
    };
    let missing = original.tensors().filter(|tensor| matched.name_of(tensor).is_none() && !is_folded(tensor));
    for tensor in missing.filter(|tensor| !left_out.has(tensor.name)) {
        let name = tensor.name.to_string();
        // Where any layers may be missing, any modules may be too, but only as a whole.
        let is_allowed = allowed.any_layers && !modules.contains(tensor.key.module.as_str());
        match tensor.layer {
            None => differences.push(CutDifference::MissingOutside { name, stack: original.stack.clone() }),
            Some(layer) if kept.contains(&layer) && !is_allowed => {
                differences.push(CutDifference::MissingInKeptLayer { name, layer });
            }
            Some(_) => {}
        }
    }
    let is_kept = |module: &&&str| original.layer_of(module).is_none_or(|layer| kept.contains(&layer));
    let emptied = zeros.iter().filter(|_| !allowed.any_layers).filter(is_kept);
    differences.extend(emptied.map(|module| CutDifference::Zeros(module.to_string())));
    let known: BTreeSet<String> =
        original.tensors().map(|tensor| tensor.key.plain_name(tensor.name).into_owned()).collect();
    let is_added = |tensor: &AdapterTensor| {
        let is_known = known.contains(&*tensor.key.plain_name(tensor.name)) || left_out.explains(tensor.name);
        !is_known && !zeros.contains(tensor.key.module.as_str())
    };
    let added = slimmed.tensors().filter(is_added);
    differences.extend(added.map(|tensor| CutDifference::Added(tensor.name.into())));
    differences
}

/// Tensors of both whose bytes differ, and how many have their values in a narrower type.
fn compare_bytes(matched: &MatchedAdapters) -> Result<(Vec<CutDifference>, usize)> {
    let MatchedAdapters { original, slimmed, .. } = matched;
    let (mut differences, mut reduced, mut narrowed) = (Vec::new(), Vec::new(), 0);
    for (tensor, name_in_slimmed) in matched.pairs() {
        let entry = slimmed.weights.entry(name_in_slimmed)?;
        let name = tensor.name.to_string();
        let is_same_form = (&entry.shape, entry.dtype()) == (&tensor.entry.shape, tensor.entry.dtype());
        if !is_same_form && dead::is_narrowed(original, &tensor, (slimmed, name_in_slimmed))? {
            narrowed += 1;
        } else if !is_same_form && without_rank(&tensor, &entry.shape) == without_rank(&tensor, &tensor.entry.shape) {
            reduced.push(name);
        } else if !is_same_form {
            differences.push(CutDifference::Shape(name));
        } else if original.weights.bytes(&name)? != slimmed.weights.bytes(name_in_slimmed)? {
            let [before, after] = matched.scalings(&tensor.key.module);
            match tensor.key.is_wrapped() && before != after {
                true => reduced.push(name),
                false => differences.push(CutDifference::Bytes(name)),
            }
        }
    }
    let tensors = reduced.len();
    differences.extend(reduced.into_iter().next().map(|first| CutDifference::Reduced { tensors, first }));
    Ok((differences, narrowed))
}

/// The sizes of a tensor that no step changes.
fn without_rank(tensor: &AdapterTensor, shape: &[usize]) -> Vec<usize> {
    let part = tensor.key.part;
    let rank = if part.is_first_factor() { Some(0) } else { part.is_second_factor().then_some(1) };
    shape.iter().enumerate().filter(|(place, _)| Some(*place) != rank).map(|(_, &size)| size).collect()
}

/// Modules, and tensors outside of pairs, that differ by more than `tolerance`.
fn compare_values(matched: &MatchedAdapters, tolerance: f64) -> Result<Vec<CutDifference>> {
    let MatchedAdapters { original, slimmed, zeros, nothing, .. } = matched;
    let changes = changes(original, slimmed)?;
    let pairs: BTreeSet<&str> = changes.iter().map(|change| change.module.as_str()).collect();
    let is_beyond = |relative: f64| relative.is_nan() || relative > tolerance;
    let moved = changes.iter().filter(|change| is_beyond(change.relative()) && !zeros.contains(change.module.as_str()));
    let moved = moved.map(|change| CutDifference::Delta { module: change.module.clone(), relative: change.relative() });
    let mut differences: Vec<CutDifference> = moved.collect();
    for (tensor, name_in_slimmed) in matched.pairs() {
        let is_factor = !matches!(tensor.key.part, Part::LoraBias | Part::Magnitude) && tensor.key.is_wrapped();
        let module = tensor.key.module.as_str();
        if is_factor && (pairs.contains(module) || nothing.contains(module)) {
            continue;
        }
        let name = tensor.name.to_string();
        if slimmed.weights.entry(name_in_slimmed)?.shape != tensor.entry.shape {
            differences.push(CutDifference::Shape(name));
            continue;
        }
        let relative = distance_of_values(matched, &tensor, name_in_slimmed)?;
        if is_beyond(relative) {
            differences.push(CutDifference::Values { name, relative });
        }
    }
    Ok(differences)
}

/// ‖x − x'‖ / ‖x‖ of a tensor. Biases of `lora_B`, and second factors outside of pairs, count with the scaling of their module.
fn distance_of_values(matched: &MatchedAdapters, tensor: &AdapterTensor, name_in_slimmed: &str) -> Result<f64> {
    let MatchedAdapters { original, slimmed, .. } = matched;
    let is_scaled = tensor.key.part.is_second_factor() || tensor.key.part == Part::LoraBias;
    if original.weights.bytes(tensor.name)? == slimmed.weights.bytes(name_in_slimmed)? && !is_scaled {
        return Ok(0.0);
    }
    let [(_, before), (_, after)] = matched.scalings(&tensor.key.module);
    let load = |adapter: &Adapter, name: &str, scaling: f64| -> Result<Vec<f64>> {
        let factor = if is_scaled { scaling } else { 1.0 };
        Ok(adapter.weights.load_finite(name)?.into_iter().map(|value| f64::from(value) * factor).collect())
    };
    let (before, after) = (load(original, tensor.name, before)?, load(slimmed, name_in_slimmed, after)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let distance = norm(&mut before.iter().zip(&after).map(|(before, after)| before - after));
    Ok(if distance == 0.0 { 0.0 } else { distance / norm(&mut before.iter().copied()) })
}

/// Whether two configurations wrap the same modules, by whatever rule only PEFT can resolve. One that is saved no longer could be
/// wrapped, unless it is embedding or head, which `all-linear` leaves out.
fn selects_alike(original: &Adapter, slimmed: &Adapter) -> bool {
    const KEYS: [&str; 5] =
        ["target_modules", "target_parameters", "layers_to_transform", "layers_pattern", "exclude_modules"];
    let [before, after] = [original, slimmed].map(|adapter| &adapter.config.raw);
    let value = |raw: &Map<String, Value>, key: &str| raw.get(key).cloned().unwrap_or(Value::Null);
    let (all, kept) = (original.saved_modules(), slimmed.saved_modules());
    KEYS.iter().all(|key| value(before, key) == value(after, key))
        && all.symmetric_difference(&kept).all(|module| is_vocabulary(module))
}

/// Differences of the configurations. Ranks and scalings may differ if the adapter `is_reduced`.
fn compare_configs(matched: &MatchedAdapters, is_reduced: bool) -> Vec<CutDifference> {
    let MatchedAdapters { original, slimmed, zeros, .. } = matched;
    let mut differences = Vec::new();
    let present = slimmed.modules();
    let all: BTreeSet<&String> = original.modules().keys().chain(present.keys()).collect();
    let identical = original.config == slimmed.config && present.len() == all.len();
    let selects_the_same = present.len() == all.len() && selects_alike(original, slimmed);
    for module in all.iter().filter(|_| !selects_the_same) {
        match (slimmed.config.targets.matches(module), present.contains_key(*module)) {
            (Some(true), false) => differences.push(CutDifference::ConfigNamesAbsent(module.to_string())),
            (Some(false), true) => differences.push(CutDifference::ConfigMisses(module.to_string())),
            (None, _) => {
                differences.push(CutDifference::ConfigUnresolved);
                break;
            }
            _ => {}
        }
    }
    if !identical {
        differences.extend(new_flaws(original, slimmed));
    }
    let (before, after) = (&original.config.raw, &slimmed.config.raw);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = |key: &&String| {
        let value = after.get(*key).unwrap_or(&Value::Null);
        before.get(*key).unwrap_or(&Value::Null) != value && !matched.left_out.explains_key(key, value)
    };
    let may_change = |key: &str| {
        let of_method = matched.is_made_plain() && (key == "peft_type" || ADALORA_KEYS.contains(&key));
        // Where single experts become parameters, beside which PEFT refuses dropout.
        let is_dropped = key == "lora_dropout" && slimmed.config.raw.get(key).and_then(Value::as_f64) == Some(0.0);
        SELECTION_KEYS.contains(&key) || is_dropped || is_reduced && (RANK_KEYS.contains(&key) || of_method)
    };
    let fixed = keys.into_iter().filter(|key| !may_change(key)).filter(changed);
    differences.extend(fixed.map(|key| CutDifference::ConfigKey(key.clone())));
    for module in present.keys().filter(|module| !is_reduced && !zeros.contains(module.as_str())) {
        let [before, after] = matched.scalings(module);
        if before != after {
            differences.push(CutDifference::ConfigKey(format!("rank or scaling of {module}")));
        }
    }
    differences
}

/// Flaws of the configuration of `slimmed` about modules that neither of the two has, unless `original` has them too.
fn new_flaws(original: &Adapter, slimmed: &Adapter) -> Vec<CutDifference> {
    let before = original.config_flaws(&BaseFacts::default());
    let is_old = |flaw: &Flaw| match flaw {
        Flaw::NamesNothing(_) | Flaw::SavesNothing { .. } => before.contains(flaw),
        _ => before.iter().any(|old| std::mem::discriminant(old) == std::mem::discriminant(flaw)),
    };
    // Modules that one of the two has are compared one by one, and so are those that neither has, below.
    let is_compared = |flaw: &Flaw| matches!(flaw, Flaw::NotNamed { .. } | Flaw::NamedWithoutTensors { .. });
    let flaws =
        slimmed.config_flaws(&BaseFacts::default()).into_iter().filter(|flaw| !is_compared(flaw) && !is_old(flaw));
    let (targets, layers) = (&original.config.targets, original.layer_count());
    // Without a list of layers, names mean those of any layer, also of layers that no model has.
    let may_have = |module: &str| original.config.lists_layers() || original.layer_of(module) < Some(layers);
    let is_new = |module: &&String| {
        !original.modules().contains_key(*module) && (targets.matches(module) != Some(true) || !may_have(module))
    };
    let named = slimmed.named_without_tensors(None);
    let named = one_flaw(named.iter().filter(is_new), |module, more| Flaw::NamedWithoutTensors { module, more });
    flaws.chain(named).map(CutDifference::Flaw).collect()
}
