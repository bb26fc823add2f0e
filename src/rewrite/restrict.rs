//! Rewriting an adapter's configuration so that PEFT wraps exactly the modules that a cut keeps.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use crate::account::{Account, is_set};
use crate::adapter::names::stack_and_layer;
use crate::adapter::targets::{MovedModule, TargetModules, Targets, last_segment, strings};
use crate::adapter::{Method, ModulePatterns};

/// Rewrites the keys of `raw` so that PEFT wraps exactly `kept`, a subset of `all`, the modules that the adapter has
/// tensors for. A list of suffixes stays and gains `layers_to_transform`; where that does not give exactly `kept` (a
/// pattern, a list of whole names, layers with different modules, a method without a choice of layers), `kept` is listed in full.
pub fn restrict(raw: &mut Map<String, Value>, all: &BTreeSet<&str>, kept: &BTreeSet<&str>, method: Method) {
    let targets = Targets::from_config(&Account::of(raw)).ok();
    let becomes_parameter = lies_beside_experts(raw, all);
    let beside: Vec<&str> = kept.iter().copied().filter(|module| becomes_parameter(module)).collect();
    restrict_parameters(raw, targets.as_ref(), kept, &beside);
    let is_parameter = |module: &str| targets.as_ref().is_some_and(|targets| targets.wraps_by_parameter(module));
    let is_module =
        |module: &&&str| !is_parameter(module) && MovedModule::parse(module).is_none() && !becomes_parameter(module);
    let all = &all.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    let kept = &kept.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    for key in ["rank_pattern", "alpha_pattern"] {
        prune_patterns(raw, key, kept);
    }
    if all.is_empty() {
        if raw.get("target_parameters").is_some_and(|names| strings(names).is_some_and(|names| !names.is_empty())) {
            raw.insert("target_modules".into(), json!([]));
        }
        return;
    }
    let modules = targets.map(|targets| targets.modules);
    if let Some(TargetModules::Pattern(pattern)) = &modules
        && let Some(pattern) = pattern_by_layer(pattern, kept)
    {
        raw.insert("target_modules".into(), json!(pattern));
        return;
    }
    let suffixes = match modules.filter(|_| method.selects_layers()) {
        Some(TargetModules::List(list)) => Some(list),
        // All linear modules of the model have tensors, so their last segments match nothing else.
        Some(all_linear) if all_linear.is_all_linear() => {
            Some(kept.iter().map(|module| last_segment(module).to_string()).collect())
        }
        _ => None,
    };
    let selection = suffixes.and_then(|list| by_layer(raw, list, all, kept)).unwrap_or_else(|| TargetSelection {
        target_modules: kept.iter().map(|module| module.to_string()).collect(),
        layers: None,
    });
    // IA3 needs its feed-forward modules, which it scales before and not after, named in the same way.
    if let Some(feedforward) = raw.get("feedforward_modules").filter(|value| value.is_array()).and_then(strings) {
        let is_feedforward = |module: &&&str| feedforward.iter().any(|ending| module.ends_with(ending.as_str()));
        let named: Vec<&str> = kept.iter().filter(is_feedforward).copied().collect();
        raw.insert("feedforward_modules".into(), json!(named));
    }
    raw.insert("target_modules".into(), json!(selection.target_modules));
    match selection.layers {
        Some(layers) => raw.insert("layers_to_transform".into(), json!(layers)),
        None => raw.get_mut("layers_to_transform").map(Value::take),
    };
    if !raw.get("layers_to_transform").is_some_and(Value::is_array) {
        // PEFT refuses a pattern without layers.
        raw.get_mut("layers_pattern").map(Value::take);
    }
}

/// The stack of multimodal adapters that were saved before transformers 4.52.
const OLD_STACK: &str = "language_model.model.layers";

/// Whether PEFT finds a module under another name than its tensors have.
pub fn has_old_name(module: &str) -> bool {
    stack_and_layer(module).is_some_and(|(stack, _)| stack.ends_with(OLD_STACK))
}

/// The pattern with the kept layers in it, where full names would not do: PEFT renames the tensors of multimodal
/// adapters that were saved before transformers 4.52, but matches the configuration with the new names.
fn pattern_by_layer(pattern: &str, kept: &BTreeSet<&str>) -> Option<String> {
    let places: Vec<(&str, usize)> = kept.iter().filter_map(|module| stack_and_layer(module)).collect();
    if pattern.eq_ignore_ascii_case("all-linear") || !places.iter().all(|(stack, _)| stack.ends_with(OLD_STACK)) {
        return None;
    }
    let layers: BTreeSet<String> = places.iter().map(|(_, layer)| layer.to_string()).collect();
    let layers = layers.into_iter().collect::<Vec<_>>().join("|");
    Some(format!(r"(?=.*\.layers\.(?:{layers})\.)(?:{pattern})"))
}

/// Which modules beside single experts have names that PEFT takes for those of experts: it would leave them out (model/converted.rs).
/// Their weights can be named as parameters, which patterns do not reach.
fn lies_beside_experts(raw: &Map<String, Value>, all: &BTreeSet<&str>) -> impl Fn(&str) -> bool + use<> {
    let has_experts = all.iter().any(|module| MovedModule::parse(module).is_some_and(|moved| moved.is_expert()));
    let has_patterns = ["rank_pattern", "alpha_pattern"].iter().any(|key| raw.get(*key).is_some_and(is_set));
    let is_affected = has_experts && !has_patterns;
    move |module| {
        is_affected && MovedModule::NAMES.contains(&last_segment(module)) && MovedModule::parse(module).is_none()
    }
}

/// Lists the parameters of kept modules in full, because `target_parameters` cannot select layers.
///
/// Single experts and routers become such parameters too. PEFT with transformers 5 takes their names for the parameters of every
/// layer, whatever precedes them, but leaves a list of parameters as it is; it expects gate and up at twice the rank
/// (`transformers_weight_conversion.py`).
fn restrict_parameters(
    raw: &mut Map<String, Value>,
    targets: Option<&Targets>,
    kept: &BTreeSet<&str>,
    beside: &[&str],
) {
    let mut parameters: BTreeSet<String> = beside.iter().map(|module| format!("{module}.weight")).collect();
    for owner in kept.iter().map(|module| module.trim_end_matches(".base_layer")) {
        let names = targets.map(|targets| targets.parameters_of(owner)).unwrap_or_default();
        parameters.extend(names.into_iter().map(|name| format!("{owner}.{name}")));
    }
    let moved: Vec<MovedModule> = kept
        .iter()
        .filter(|module| targets.is_none_or(|targets| targets.parameters_of(module).is_empty()))
        .filter_map(|module| MovedModule::parse(module))
        .collect();
    parameters.extend(moved.iter().map(MovedModule::parameter));
    if targets.is_some_and(|targets| !targets.parameters.is_empty()) || !moved.is_empty() || !beside.is_empty() {
        raw.insert("target_parameters".into(), json!(parameters));
    }
    // PEFT refuses dropout beside parameters. It only counts in training.
    if let Some(dropout) = raw.get_mut("lora_dropout").filter(|_| !moved.is_empty() || !beside.is_empty()) {
        *dropout = json!(0.0);
    }
    if moved.iter().any(|moved| moved.parameter().ends_with("gate_up_proj")) {
        for (key, value) in [("rank_pattern", "r"), ("alpha_pattern", "lora_alpha")] {
            let doubled = raw.get(value).and_then(Value::as_f64).unwrap_or_default() * 2.0;
            let doubled = if key == "rank_pattern" { json!(doubled as u64) } else { json!(doubled) };
            if !raw.get(key).is_some_and(Value::is_object) {
                raw.insert(key.into(), json!({}));
            }
            raw[key][GATE_UP_PATTERN] = doubled;
        }
    }
}

const GATE_UP_PATTERN: &str = r".*\.gate_up_proj";

/// Rewrites `modules_to_save` so that PEFT replaces exactly the saved modules that are kept: it takes the names as
/// endings, and fails to load an entry without tensors.
pub fn restrict_saved(raw: &mut Map<String, Value>, kept: &BTreeSet<String>) {
    if raw.get("modules_to_save").is_some_and(|value| value.as_array().is_some_and(|list| !list.is_empty())) {
        raw.insert("modules_to_save".into(), if kept.is_empty() { Value::Null } else { json!(kept) });
    }
}

struct TargetSelection {
    target_modules: Vec<String>,
    layers: Option<Vec<usize>>,
}

/// The suffix list with the kept layers, if that selects exactly `kept`.
fn by_layer<'a>(
    raw: &Map<String, Value>,
    list: Vec<String>,
    all: &BTreeSet<&'a str>,
    kept: &BTreeSet<&'a str>,
) -> Option<TargetSelection> {
    let places: BTreeSet<(&str, usize)> = kept.iter().filter_map(|module| stack_and_layer(module)).collect();
    let layers: BTreeSet<usize> = places.iter().map(|(_, layer)| *layer).collect();
    let stacks: BTreeSet<&str> = places.iter().map(|(stack, _)| *stack).collect();
    // A filter by layer applies to every stack. Older PEFT takes the last number of a name for the layer; with experts only
    // full names mean the same to all versions.
    let has_inner_number = |module: &&str| module.split('.').filter(|s| s.parse::<usize>().is_ok()).count() > 1;
    let are_full_names = list.iter().all(|target| all.contains(target.as_str()));
    if layers.is_empty() || stacks.len() > 1 || kept.iter().any(has_inner_number) || are_full_names {
        return None;
    }
    let suffixes = |module: &'a str| module.match_indices('.').map(move |(dot, _)| &module[dot + 1..]).chain([module]);
    let used: HashSet<&str> = kept.iter().copied().flat_map(suffixes).collect();
    // A filter by layer hides modules outside all layers (`embed_tokens`, `lm_head`): those are named in full.
    let outside = kept.iter().filter(|module| stack_and_layer(module).is_none()).map(|module| module.to_string());
    let mut seen = HashSet::new();
    let named = list.into_iter().filter(|target| used.contains(target.as_str())).chain(outside);
    let target_modules: Vec<String> = named.filter(|target| seen.insert(target.clone())).collect();
    let mut selected = raw.clone();
    selected.insert("target_modules".into(), json!(target_modules));
    selected.insert("layers_to_transform".into(), json!(layers));
    selected.insert("target_parameters".into(), Value::Null);
    let targets = Targets::from_config(&Account::of(&selected)).ok()?;
    let is_exact = all.iter().all(|module| targets.matches(module) == Some(kept.contains(module)));
    is_exact.then(|| TargetSelection { target_modules, layers: Some(layers.into_iter().collect()) })
}

/// Removes the entries that match no kept module or parameter: PEFT would only warn about them, but a clean adapter should load
/// without a warning.
fn prune_patterns(raw: &mut Map<String, Value>, key: &str, kept: &BTreeSet<&str>) {
    let parameters = raw.get("target_parameters").and_then(strings).unwrap_or_default();
    let has_gate_up = parameters.iter().any(|parameter| parameter.ends_with("gate_up_proj"));
    let Some(Value::Object(patterns)) = raw.get_mut(key) else { return };
    // AdaLoRA's keys name a tensor of the module.
    let modules = patterns.keys().map(|pattern| pattern.strip_suffix(".lora_E").unwrap_or(pattern));
    let compiled = ModulePatterns::new(modules);
    let names = kept.iter().copied().chain(parameters.iter().map(String::as_str));
    let used: HashSet<usize> = names.flat_map(|name| compiled.matching(name)).collect();
    let mut places = 0..;
    patterns.retain(|pattern, _| {
        let is_used = places.next().is_some_and(|place| used.contains(&place));
        pattern == GATE_UP_PATTERN && has_gate_up || is_used
    });
}
