//! Which modules an adapter configuration wraps, by PEFT's own rules (`check_target_module_exists`).

use std::collections::{BTreeMap, BTreeSet};

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::adapter::names::{MOST_LAYERS, stack_and_layer};

/// The keys of a configuration that select modules.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    pub modules: TargetModules,
    /// `layers_to_transform`; `None` (also for an empty list) means every layer.
    pub(crate) layers: Option<BTreeSet<usize>>,
    /// `layers_pattern`; empty means PEFT's default.
    pub(crate) layers_pattern: Vec<String>,
    /// `exclude_modules`.
    pub(crate) excluded: Option<TargetModules>,
    /// `target_parameters`.
    pub(crate) parameters: Vec<String>,
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
        self.matcher().matches(module)
    }

    /// The same for many modules.
    pub fn matcher(&self) -> Matcher<'_> {
        let compiled = |modules: &TargetModules| match modules {
            TargetModules::Pattern(pattern) => full_match(pattern),
            TargetModules::List(_) => None,
        };
        let layer_of = |pattern: &String| Regex::new(&format!(r"^.*?\.{pattern}\.(\d+)\.")).ok();
        Matcher {
            targets: self,
            modules: compiled(&self.modules),
            excluded: self.excluded.as_ref().and_then(compiled),
            layers: self.layers_pattern.iter().filter_map(layer_of).collect(),
        }
    }

    /// Whether a module is wrapped because `target_parameters` names what it holds. Single experts and routers
    /// count as what PEFT makes of them with transformers 5.
    pub fn wraps_by_parameter(&self, module: &str) -> bool {
        let owner = module.trim_end_matches(".base_layer");
        let stacked = MovedModule::parse(owner).map(|moved| moved.parameter());
        let holds = |parameter: String| {
            let (owner, name) = parameter.rsplit_once('.').unwrap_or(("", &parameter));
            self.parameters_of(owner).contains(&name)
        };
        !self.parameters_of(owner).is_empty() || stacked.is_some_and(holds)
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
}

/// [`Targets`] with their patterns compiled.
pub struct Matcher<'a> {
    targets: &'a Targets,
    modules: Option<Regex>,
    excluded: Option<Regex>,
    /// Of `layers_pattern`.
    layers: Vec<Regex>,
}

impl Matcher<'_> {
    /// As [`Targets::matches`].
    pub fn matches(&self, module: &str) -> Option<bool> {
        let targets = self.targets;
        if targets.wraps_by_parameter(module) {
            return Some(true);
        }
        let excluded = match &targets.excluded {
            Some(TargetModules::Pattern(_)) => self.excluded.as_ref()?.is_match(module).ok()?,
            Some(TargetModules::List(list)) => list.iter().any(|name| name == module || is_suffix(name, module)),
            None => false,
        };
        if excluded {
            return Some(false);
        }
        match &targets.modules {
            TargetModules::Pattern(pattern) if pattern.eq_ignore_ascii_case("all-linear") => None,
            TargetModules::Pattern(_) => self.modules.as_ref()?.is_match(module).ok(),
            TargetModules::List(names) => Some(
                names.iter().any(|name| name == module)
                    || (names.iter().any(|name| is_suffix(name, module)) && self.layer_is_wanted(module)),
            ),
        }
    }

    fn layer_is_wanted(&self, module: &str) -> bool {
        let Some(layers) = &self.targets.layers else { return true };
        let layer = if self.targets.layers_pattern.is_empty() {
            // PEFT's default pattern wants a segment before the one that holds the layers (`model.layers.3`), so the
            // layers of a bare model (`layers.3`) do not match.
            stack_and_layer(module).filter(|(stack, _)| stack.contains('.')).map(|(_, layer)| layer)
        } else {
            self.layers.iter().find_map(|regex| regex.captures(module).ok()??.get(1)?.as_str().parse().ok())
        };
        layer.is_some_and(|layer| layers.contains(&layer))
    }
}

/// A module that transformers 5 has no more: a single expert, whose matrices are in one parameter for all experts of a
/// layer, or a router, which is a parameter now.
pub struct MovedModule<'a> {
    layer: &'a str,
    /// `w1`, `gate_proj` or, of a router, `gate`.
    name: &'a str,
}

impl<'a> MovedModule<'a> {
    /// Takes apart `LAYER.mlp.experts.3.gate_proj`, `LAYER.block_sparse_moe.experts.3.w1` or `LAYER.mlp.gate`.
    pub fn parse(module: &'a str) -> Option<Self> {
        const NAMES: [&str; 6] = ["w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"];
        const BLOCKS: [&str; 2] = [".mlp", ".block_sparse_moe"];
        let (rest, name) = module.rsplit_once('.')?;
        if name == "gate" {
            let layer = BLOCKS.iter().find_map(|block| rest.strip_suffix(block))?;
            return Some(Self { layer, name });
        }
        let (rest, number) = rest.rsplit_once('.')?;
        let block = rest.strip_suffix(".experts")?;
        let layer = BLOCKS.iter().find_map(|name| block.strip_suffix(name))?;
        (number.parse::<usize>().is_ok() && NAMES.contains(&name)).then_some(Self { layer, name })
    }

    /// The parameter that it is, or is a part of, with transformers 5.
    pub fn parameter(&self) -> String {
        match self.name {
            "gate" => format!("{}.mlp.gate.weight", self.layer),
            "w2" | "down_proj" => format!("{}.mlp.experts.down_proj", self.layer),
            _ => format!("{}.mlp.experts.gate_up_proj", self.layer),
        }
    }
}

/// A key that holds a list of names or one regular expression.
pub(crate) fn names(
    raw: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<TargetModules>, (&'static str, &'static str)> {
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
fn full_match(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

/// The value of `rank_pattern` or `alpha_pattern` for a module: that of the first key that matches
/// (PEFT, `get_pattern_key`).
pub fn pattern_value(raw: &Map<String, Value>, key: &str, module: &str) -> Option<f64> {
    let patterns = raw.get(key)?.as_object()?;
    patterns.iter().find(|(pattern, _)| pattern_matches(pattern, module))?.1.as_f64()
}

pub(crate) fn pattern_matches(pattern: &str, module: &str) -> bool {
    Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).is_ok_and(|regex| regex.is_match(module).unwrap_or(false))
}

pub(crate) fn is_suffix(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'))
}

pub fn last_segment(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        _ => None,
    }
}

fn index(value: &Value) -> Option<usize> {
    value.as_u64().map(|index| index as usize).filter(|&index| index < MOST_LAYERS)
}

/// The modules per layer and outside of it that a set of names has, for messages.
pub fn module_types<'a>(modules: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut types = BTreeMap::new();
    for module in modules {
        *types.entry(last_segment(module)).or_insert(0) += 1;
    }
    types
}
