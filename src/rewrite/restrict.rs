//! Rewriting an adapter's configuration so that PEFT wraps exactly the modules that a cut keeps.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::adapter::names::stack_and_layer;
use crate::adapter::targets::{
    MovedModule, TargetModules, Targets, is_suffix, last_segment, names, pattern_matches, strings,
};

/// Rewrites the keys of `raw` so that PEFT wraps exactly `kept`, a subset of `all`, the modules that the adapter has
/// tensors for. A list of suffixes keeps its list and gains `layers_to_transform`; wherever that does not give
/// exactly `kept` (a pattern, a list of whole names, layers that differ in their modules, a method that knows no
/// layers), `kept` is listed in full.
pub fn restrict(raw: &mut Map<String, Value>, all: &BTreeSet<&str>, kept: &BTreeSet<&str>, selects_layers: bool) {
    let targets = Targets::from_config(raw).ok();
    restrict_parameters(raw, targets.as_ref(), kept);
    let is_parameter = |module: &str| targets.as_ref().is_some_and(|targets| targets.wraps_by_parameter(module));
    let is_module = |module: &&&str| !is_parameter(module) && MovedModule::parse(module).is_none();
    let all = &all.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    let kept = &kept.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    for key in ["rank_pattern", "alpha_pattern"] {
        prune_patterns(raw, key, kept);
    }
    if all.is_empty() {
        return;
    }
    if let Some(pattern) = targets.as_ref().and_then(|targets| pattern_by_layer(targets, kept)) {
        raw.insert("target_modules".into(), json!(pattern));
        return;
    }
    let mut candidates = Vec::new();
    match targets.map(|targets| targets.modules).filter(|_| selects_layers) {
        Some(TargetModules::List(list)) => candidates.push(list),
        // All linear modules of the model have tensors, so their last segments catch nothing else.
        Some(TargetModules::Pattern(pattern)) if pattern.eq_ignore_ascii_case("all-linear") => {
            candidates.push(kept.iter().map(|module| last_segment(module).to_string()).collect());
        }
        _ => {}
    }
    let selection = candidates.into_iter().find_map(|list| by_layer(raw, list, all, kept)).unwrap_or_else(|| {
        Selection { target_modules: kept.iter().map(|module| module.to_string()).collect(), layers: None }
    });
    // IA3 wants the modules that it scales before, not after, to be named as all are.
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

/// The pattern with the kept layers in it, where names in full would not do: PEFT renames the tensors of multimodal
/// adapters that were saved before transformers 4.52, but takes what the configuration says by the new names.
fn pattern_by_layer(targets: &Targets, kept: &BTreeSet<&str>) -> Option<String> {
    let TargetModules::Pattern(pattern) = &targets.modules else { return None };
    let places: Vec<(&str, usize)> = kept.iter().filter_map(|module| stack_and_layer(module)).collect();
    if pattern.eq_ignore_ascii_case("all-linear") || !places.iter().all(|(stack, _)| stack.ends_with(OLD_STACK)) {
        return None;
    }
    let layers: BTreeSet<String> = places.iter().map(|(_, layer)| layer.to_string()).collect();
    let layers = layers.into_iter().collect::<Vec<_>>().join("|");
    Some(format!(r"(?=.*\.layers\.(?:{layers})\.)(?:{pattern})"))
}

/// `target_parameters` knows no layers either: the parameters of kept modules are listed in full.
///
/// Single experts and routers are listed so too. PEFT with transformers 5 takes their names for the parameters of every layer,
/// whatever stands before them, but leaves a list of parameters as it is; it wants gate and up at twice the rank
/// (`transformers_weight_conversion.py`).
fn restrict_parameters(raw: &mut Map<String, Value>, targets: Option<&Targets>, kept: &BTreeSet<&str>) {
    let mut parameters: BTreeSet<String> = BTreeSet::new();
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
    if targets.is_some_and(|targets| !targets.parameters.is_empty()) || !moved.is_empty() {
        raw.insert("target_parameters".into(), json!(parameters));
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
/// endings, and an entry without tensors makes loading fail.
pub fn restrict_saved(raw: &mut Map<String, Value>, kept: &BTreeSet<String>) {
    if raw.get("modules_to_save").is_some_and(|value| value.as_array().is_some_and(|list| !list.is_empty())) {
        raw.insert("modules_to_save".into(), if kept.is_empty() { Value::Null } else { json!(kept) });
    }
}

struct Selection {
    target_modules: Vec<String>,
    layers: Option<Vec<usize>>,
}

/// The suffix list with the kept layers, if that selects exactly `kept`.
fn by_layer(
    raw: &Map<String, Value>,
    list: Vec<String>,
    all: &BTreeSet<&str>,
    kept: &BTreeSet<&str>,
) -> Option<Selection> {
    let places: BTreeSet<(&str, usize)> = kept.iter().filter_map(|module| stack_and_layer(module)).collect();
    let layers: BTreeSet<usize> = places.iter().map(|(_, layer)| *layer).collect();
    let stacks: BTreeSet<&str> = places.iter().map(|(stack, _)| *stack).collect();
    // The filter knows no stacks: with several it would reach into each.
    // Older PEFT takes the last number of a name for the layer; with experts only whole names mean the same to all.
    let has_inner_number = |module: &&str| module.split('.').filter(|s| s.parse::<usize>().is_ok()).count() > 1;
    let names_in_full = list.iter().all(|target| all.contains(target.as_str()));
    if stacks.len() > 1 || kept.iter().any(has_inner_number) || names_in_full {
        return None;
    }
    let mut target_modules: Vec<String> = Vec::new();
    for target in list {
        let used = kept.iter().any(|module| *module == target || is_suffix(&target, module));
        if used && !target_modules.contains(&target) {
            target_modules.push(target);
        }
    }
    // A filter by layer hides modules outside all layers (`embed_tokens`, `lm_head`): those are named in full.
    for module in kept.iter().filter(|module| stack_and_layer(module).is_none()) {
        if !target_modules.iter().any(|target| target == module) {
            target_modules.push(module.to_string());
        }
    }
    let targets = Targets {
        modules: TargetModules::List(target_modules.clone()),
        layers: Some(layers.clone()),
        layers_pattern: raw.get("layers_pattern").and_then(strings).unwrap_or_default(),
        excluded: names(raw, "exclude_modules").ok().flatten(),
        parameters: Vec::new(),
    };
    let exact = !layers.is_empty() && all.iter().all(|module| targets.matches(module) == Some(kept.contains(module)));
    exact.then(|| Selection { target_modules, layers: Some(layers.into_iter().collect()) })
}

/// Removes the entries that match no kept module or parameter: PEFT only warns about them, but a clean adapter gives no
/// warning.
fn prune_patterns(raw: &mut Map<String, Value>, key: &str, kept: &BTreeSet<&str>) {
    let parameters = raw.get("target_parameters").and_then(strings).unwrap_or_default();
    if let Some(Value::Object(patterns)) = raw.get_mut(key) {
        // AdaLoRA's keys name a tensor of the module.
        let module_of = |pattern: &str| pattern.strip_suffix(".lora_E").unwrap_or(pattern).to_string();
        let names = || kept.iter().copied().chain(parameters.iter().map(String::as_str));
        let matches = |pattern: &str| names().any(|name| pattern_matches(&module_of(pattern), name));
        patterns.retain(|pattern, _| pattern == GATE_UP_PATTERN || matches(pattern));
    }
}
