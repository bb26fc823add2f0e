//! Which modules an adapter configuration wraps, by PEFT's own rules (`check_target_module_exists`), and how to
//! write a configuration that wraps exactly a given set.

use std::collections::{BTreeMap, BTreeSet};

use fancy_regex::Regex;
use serde_json::{Map, Value, json};

use super::keys::stack_and_layer;

/// The keys of a configuration that select modules.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    pub modules: TargetModules,
    /// `layers_to_transform`; `None` (also for an empty list) means every layer.
    layers: Option<BTreeSet<usize>>,
    /// `layers_pattern`; empty means PEFT's default.
    layers_pattern: Vec<String>,
    /// `exclude_modules`.
    excluded: Option<TargetModules>,
    /// `target_parameters`.
    parameters: Vec<String>,
}

/// `target_modules`.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetModules {
    /// Module names, whole or as suffixes.
    List(Vec<String>),
    /// A regular expression over whole names, or `all-linear`.
    Pattern(String),
}

impl Targets {
    pub fn from_config(raw: &Map<String, Value>) -> Result<Self, (&'static str, &'static str)> {
        let modules = names(raw, "target_modules")?.unwrap_or(TargetModules::List(Vec::new()));
        let wrong = ("layers_to_transform", "a list of layer indices");
        let layers = match raw.get("layers_to_transform") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) if items.is_empty() => None,
            Some(Value::Array(items)) => Some(items.iter().map(index).collect::<Option<_>>().ok_or(wrong)?),
            Some(one) => Some(BTreeSet::from([index(one).ok_or(wrong)?])),
        };
        let layers_pattern = match raw.get("layers_pattern") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(pattern)) => vec![pattern.clone()],
            Some(list) => strings(list).ok_or(("layers_pattern", "a string or a list of strings"))?,
        };
        let excluded = names(raw, "exclude_modules")?;
        let parameters = raw.get("target_parameters").and_then(strings).unwrap_or_default();
        Ok(Self { modules, layers, layers_pattern, excluded, parameters })
    }

    /// Whether PEFT would wrap `module`. `None` where only PEFT can tell: a pattern that this regex engine does not
    /// take, or `all-linear`, which asks the model.
    pub fn matches(&self, module: &str) -> Option<bool> {
        if !self.parameters_of(module.trim_end_matches(".base_layer")).is_empty() {
            return Some(true);
        }
        let excluded = match &self.excluded {
            Some(TargetModules::Pattern(pattern)) => full_match(pattern, module)?,
            Some(TargetModules::List(list)) => list.iter().any(|name| name == module || is_suffix(name, module)),
            None => false,
        };
        if excluded {
            return Some(false);
        }
        match &self.modules {
            TargetModules::Pattern(pattern) if pattern.eq_ignore_ascii_case("all-linear") => None,
            TargetModules::Pattern(pattern) => full_match(pattern, module),
            TargetModules::List(targets) => Some(
                targets.iter().any(|target| target == module)
                    || (targets.iter().any(|target| is_suffix(target, module)) && self.layer_is_wanted(module)),
            ),
        }
    }

    /// The parameters of module `owner` that `target_parameters` names. Without a module in the name only the usual
    /// owner of such parameters is meant.
    pub fn parameters_of(&self, owner: &str) -> Vec<&str> {
        let of_owner = |target: &str| match target.rsplit_once('.') {
            Some((module, _)) => module == owner || is_suffix(module, owner),
            None => last_segment(owner) == "experts",
        };
        self.parameters.iter().filter(|target| of_owner(target)).map(|target| last_segment(target)).collect()
    }

    fn layer_is_wanted(&self, module: &str) -> bool {
        let Some(layers) = &self.layers else { return true };
        let layer = if self.layers_pattern.is_empty() {
            // PEFT's default pattern wants a segment before the one that holds the layers (`model.layers.3`), so the
            // layers of a bare model (`layers.3`) do not match.
            stack_and_layer(module).filter(|(stack, _)| stack.contains('.')).map(|(_, layer)| layer)
        } else {
            self.layers_pattern.iter().find_map(|pattern| {
                let regex = Regex::new(&format!(r"^.*?\.{pattern}\.(\d+)\.")).ok()?;
                regex.captures(module).ok()??.get(1)?.as_str().parse().ok()
            })
        };
        layer.is_some_and(|layer| layers.contains(&layer))
    }
}

/// A key that holds a list of names or one regular expression.
fn names(raw: &Map<String, Value>, key: &'static str) -> Result<Option<TargetModules>, (&'static str, &'static str)> {
    match raw.get(key) {
        Some(Value::String(pattern)) => Ok(Some(TargetModules::Pattern(pattern.clone()))),
        Some(value @ Value::Array(_)) => {
            Ok(Some(TargetModules::List(strings(value).ok_or((key, "a list of strings"))?)))
        }
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err((key, "a list of strings or one string")),
    }
}

/// Python's `re.fullmatch`; `None` where this engine does not take the pattern.
fn full_match(pattern: &str, module: &str) -> Option<bool> {
    Regex::new(&format!("^(?:{pattern})$")).ok()?.is_match(module).ok()
}

/// Rewrites the keys of `raw` so that PEFT wraps exactly `kept`, a subset of `all`, the modules that the adapter has
/// tensors for. A list of suffixes keeps its list and gains `layers_to_transform`; wherever that does not give
/// exactly `kept` (a pattern, a list of whole names, layers that differ in their modules, a method that knows no
/// layers), `kept` is listed in full.
pub fn restrict(raw: &mut Map<String, Value>, all: &BTreeSet<&str>, kept: &BTreeSet<&str>, selects_layers: bool) {
    let targets = Targets::from_config(raw).ok();
    restrict_parameters(raw, targets.as_ref(), kept);
    let is_module = |module: &&&str| {
        let owner = module.trim_end_matches(".base_layer");
        targets.as_ref().is_none_or(|targets| targets.parameters_of(owner).iter().all(|name| *name == "weight"))
    };
    let all = &all.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    let kept = &kept.iter().filter(is_module).copied().collect::<BTreeSet<&str>>();
    if all.is_empty() {
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
    for key in ["rank_pattern", "alpha_pattern"] {
        prune_patterns(raw, key, kept);
    }
}

/// `target_parameters` knows no layers either: the parameters of kept modules are listed in full.
fn restrict_parameters(raw: &mut Map<String, Value>, targets: Option<&Targets>, kept: &BTreeSet<&str>) {
    let Some(targets) = targets.filter(|targets| !targets.parameters.is_empty()) else { return };
    let owners: BTreeSet<&str> = kept.iter().map(|module| module.trim_end_matches(".base_layer")).collect();
    let full = |owner: &&str| {
        targets.parameters_of(owner).into_iter().map(|name| format!("{owner}.{name}")).collect::<Vec<_>>()
    };
    raw.insert("target_parameters".into(), json!(owners.iter().flat_map(full).collect::<Vec<_>>()));
}

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

/// Removes the entries that match no kept module: PEFT only warns about them, but a clean adapter gives no warning.
fn prune_patterns(raw: &mut Map<String, Value>, key: &str, kept: &BTreeSet<&str>) {
    if let Some(Value::Object(patterns)) = raw.get_mut(key) {
        // AdaLoRA's keys name a tensor of the module.
        let module_of = |pattern: &str| pattern.strip_suffix(".lora_E").unwrap_or(pattern).to_string();
        patterns.retain(|pattern, _| kept.iter().any(|module| pattern_matches(&module_of(pattern), module)));
    }
}

/// The value of `rank_pattern` or `alpha_pattern` for a module: that of the first key that matches
/// (PEFT, `get_pattern_key`).
pub fn pattern_value(raw: &Map<String, Value>, key: &str, module: &str) -> Option<f64> {
    let patterns = raw.get(key)?.as_object()?;
    patterns.iter().find(|(pattern, _)| pattern_matches(pattern, module))?.1.as_f64()
}

fn pattern_matches(pattern: &str, module: &str) -> bool {
    Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).is_ok_and(|regex| regex.is_match(module).unwrap_or(false))
}

fn is_suffix(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'))
}

fn last_segment(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        _ => None,
    }
}

fn index(value: &Value) -> Option<usize> {
    value.as_u64().map(|index| index as usize)
}

/// The modules per layer and outside of it that a set of names has, for messages.
pub fn module_types<'a>(modules: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut types = BTreeMap::new();
    for module in modules {
        *types.entry(last_segment(module)).or_insert(0) += 1;
    }
    types
}
