//! Which modules an adapter configuration wraps, by PEFT's own rules (`check_target_module_exists`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fancy_regex::Regex;
use serde_json::Value;

use crate::account::Account;
use crate::adapter::names::{MOST_LAYERS, stack_and_layer};
use crate::adapter::patterns;

/// A key of the configuration that cannot be read, and what it should hold.
pub type WrongKey = (&'static str, &'static str);

/// The keys of a configuration that select modules, compiled.
#[derive(Debug, Clone)]
pub struct Targets {
    pub modules: TargetModules,
    /// `layers_to_transform`; `None` (also for an empty list) means every layer.
    pub layers: Option<BTreeSet<usize>>,
    /// `layers_pattern`; empty means PEFT's default.
    layers_pattern: Vec<Regex>,
    has_default_pattern: bool,
    /// `exclude_modules`.
    excluded: Option<Exclusion>,
    /// `target_parameters`.
    pub(crate) parameters: Vec<String>,
    /// Their places, by what is before the last dot, and the places of those without a dot.
    by_owner: HashMap<String, Vec<usize>>,
    without_owner: Vec<usize>,
    selector: Selector,
}

/// The most names in a list of the configuration: those of the modules of a large mixture of experts.
const MOST_NAMES: usize = 100_000;

/// `target_modules`.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetModules {
    /// Module names, whole or as suffixes.
    List(Vec<String>),
    /// A regular expression over whole names, or `all-linear`.
    Pattern(String),
    /// Null: PEFT takes those that it lists for the type of the base model.
    OfModelType,
}

impl TargetModules {
    pub fn is_all_linear(&self) -> bool {
        matches!(self, TargetModules::Pattern(pattern) if pattern.eq_ignore_ascii_case("all-linear"))
    }
}

/// [`TargetModules`], compiled.
#[derive(Debug, Clone)]
enum Selector {
    List(HashSet<String>),
    /// `None` where this engine does not take the pattern.
    Pattern(Option<Box<Regex>>),
}

impl Selector {
    fn new(modules: &TargetModules) -> Self {
        match modules {
            TargetModules::List(names) => Self::List(names.iter().cloned().collect()),
            // Python's `re.fullmatch`.
            TargetModules::Pattern(pattern) => {
                Self::Pattern(patterns::compiled(&format!("^(?:{pattern})$"), 1).map(Box::new))
            }
            TargetModules::OfModelType => Self::Pattern(None),
        }
    }

    fn matches(&self, module: &str) -> Option<bool> {
        match self {
            Self::List(names) => Some(names.contains(module) || self.has_suffix(module)),
            Self::Pattern(regex) => regex.as_ref()?.is_match(module).ok(),
        }
    }

    /// Whether the list has a suffix of `module`, without the whole name.
    fn has_suffix(&self, module: &str) -> bool {
        let Self::List(names) = self else { return false };
        module.match_indices('.').any(|(dot, _)| names.contains(&module[dot + 1..]))
    }
}

/// `exclude_modules`, as it is written and compiled.
#[derive(Debug, Clone)]
struct Exclusion {
    modules: TargetModules,
    selector: Selector,
}

impl Exclusion {
    fn new(modules: TargetModules) -> Self {
        Self { selector: Selector::new(&modules), modules }
    }
}

impl Targets {
    pub fn from_config(config: &Account) -> Result<Self, WrongKey> {
        let modules = names(config, "target_modules")?.unwrap_or(TargetModules::OfModelType);
        let wrong = ("layers_to_transform", "a list of layer indices");
        let layers = match config.get("layers_to_transform") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) if items.is_empty() => None,
            Some(Value::Array(items)) => Some(items.iter().map(index).collect::<Option<_>>().ok_or(wrong)?),
            Some(one) => Some(BTreeSet::from([index(one).ok_or(wrong)?])),
        };
        let layers_pattern = match config.get("layers_pattern") {
            None | Some(Value::Null) => Vec::new(),
            Some(patterns) => strings(patterns).ok_or(("layers_pattern", "a string or a list of strings"))?,
        };
        let parameters = match config.get("target_parameters") {
            None | Some(Value::Null) => Vec::new(),
            Some(names) => {
                let names = strings(names).filter(|names| names.len() <= MOST_NAMES);
                names.ok_or(("target_parameters", "a list of at most 100000 strings"))?
            }
        };
        let mut by_owner: HashMap<String, Vec<usize>> = HashMap::new();
        let mut without_owner = Vec::new();
        for (place, name) in parameters.iter().enumerate() {
            match name.rsplit_once('.') {
                Some((owner, _)) => by_owner.entry(owner.into()).or_default().push(place),
                None => without_owner.push(place),
            }
        }
        if layers_pattern.len() > patterns::MOST_EXPRESSIONS {
            return Err(("layers_pattern", "a string or a list of at most 1000 strings"));
        }
        let count = layers_pattern.len();
        let layer_of = |pattern: &String| patterns::compiled(&format!(r"^.*?\.{pattern}\.(\d+)\."), count);
        Ok(Self {
            selector: Selector::new(&modules),
            modules,
            layers,
            has_default_pattern: layers_pattern.is_empty(),
            layers_pattern: layers_pattern.iter().filter_map(layer_of).collect(),
            excluded: names(config, "exclude_modules")?.map(Exclusion::new),
            parameters,
            by_owner,
            without_owner,
        })
    }

    /// The same selection with other modules.
    pub fn with_modules(&self, names: &[&str]) -> Self {
        let modules = TargetModules::List(names.iter().map(|name| name.to_string()).collect());
        Self { selector: Selector::new(&modules), modules, ..self.clone() }
    }

    /// Whether PEFT would wrap `module`. `None` where only PEFT can tell: a pattern that this regex engine does not take,
    /// `all-linear`, which asks the model, or no modules at all.
    pub fn matches(&self, module: &str) -> Option<bool> {
        if self.wraps_by_parameter(module) {
            return Some(true);
        }
        if let Some(excluded) = &self.excluded
            && excluded.selector.matches(module)?
        {
            return Some(false);
        }
        match &self.selector {
            _ if self.modules.is_all_linear() => None,
            Selector::List(names) => {
                Some(names.contains(module) || self.selector.has_suffix(module) && self.selects_layer_of(module))
            }
            pattern => pattern.matches(module),
        }
    }

    fn selects_layer_of(&self, module: &str) -> bool {
        let Some(layers) = &self.layers else { return true };
        let layer = if self.has_default_pattern {
            // PEFT's default pattern needs a segment before the one that holds the layers (`model.layers.3`), so the
            // layers of a bare model (`layers.3`) do not match.
            stack_and_layer(module).filter(|(stack, _)| stack.contains('.')).map(|(_, layer)| layer)
        } else {
            self.layers_pattern.iter().find_map(|regex| regex.captures(module).ok()??.get(1)?.as_str().parse().ok())
        };
        layer.is_some_and(|layer| layers.contains(&layer))
    }

    /// What `exclude_modules` has that matches none of these modules: names, or its expression.
    pub fn unused_exclusions<'a>(&'a self, modules: &[&str]) -> Vec<&'a str> {
        let Some(excluded) = &self.excluded else { return Vec::new() };
        match &excluded.modules {
            TargetModules::List(names) => {
                let endings: HashSet<&str> = modules.iter().flat_map(|module| endings(module)).collect();
                names.iter().map(String::as_str).filter(|name| !endings.contains(name)).collect()
            }
            TargetModules::Pattern(pattern) => {
                let is_unused = modules.iter().all(|module| excluded.selector.matches(module) == Some(false));
                is_unused.then_some(pattern.as_str()).into_iter().collect()
            }
            TargetModules::OfModelType => Vec::new(),
        }
    }

    /// Whether a module is wrapped because `target_parameters` names a parameter of it. Single experts and routers
    /// count as the parameters that PEFT turns them into with transformers 5.
    pub fn wraps_by_parameter(&self, module: &str) -> bool {
        let owner = module.trim_end_matches(".base_layer");
        let stacked = MovedModule::parse(owner).map(|moved| moved.parameter());
        let holds = |parameter: String| {
            let (owner, name) = parameter.rsplit_once('.').unwrap_or(("", &parameter));
            self.parameters_of(owner).contains(&name)
        };
        !self.parameters_of(owner).is_empty() || stacked.is_some_and(holds)
    }

    /// The parameters of module `owner` that `target_parameters` names.
    pub fn parameters_of(&self, owner: &str) -> Vec<&str> {
        self.places_of(owner).into_iter().map(|place| last_segment(&self.parameters[place])).collect()
    }

    /// The places of the entries of `target_parameters` that module `owner` owns, in their order.
    fn places_of(&self, owner: &str) -> Vec<usize> {
        if self.parameters.is_empty() {
            return Vec::new();
        }
        // A name without a module means the usual owner of such parameters.
        let usual = Some(&self.without_owner).filter(|_| last_segment(owner) == "experts");
        let named = endings(owner).filter_map(|ending| self.by_owner.get(ending));
        let mut places: Vec<usize> = named.chain(usual).flatten().copied().collect();
        places.sort_unstable();
        places
    }

    /// The entries of `target_parameters` that are no parameter of any of these modules, and none that a module became a part of.
    pub(super) fn unused_parameters<'a>(&self, modules: impl Iterator<Item = &'a str>) -> Vec<&str> {
        let (mut used, mut moved): (HashSet<usize>, HashSet<String>) = Default::default();
        for owner in modules.map(|module| module.trim_end_matches(".base_layer")) {
            used.extend(self.places_of(owner));
            let parameter = MovedModule::parse(owner).map(|module| module.parameter());
            moved.extend(parameter.iter().flat_map(|name| endings(name)).map(String::from));
        }
        let names = self.parameters.iter().enumerate();
        let unused = names.filter(|(place, name)| !used.contains(place) && !moved.contains(name.as_str()));
        unused.map(|(_, name)| name.as_str()).collect()
    }
}

/// A name, and what is behind each of its dots.
fn endings(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(|(dot, _)| &name[dot + 1..]))
}

/// A module that no longer exists in transformers 5: a single expert, whose matrices are in one parameter for all experts of a
/// layer, or a router, which is a parameter.
pub struct MovedModule<'a> {
    layer: &'a str,
    /// The part of the layer that has the experts now.
    block: &'static str,
    /// `w1`, `gate_proj` or, of a router, `gate`.
    name: &'a str,
}

impl MovedModule<'_> {
    /// What the matrices of an expert are called.
    pub const NAMES: [&'static str; 6] = ["w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"];
}

impl<'a> MovedModule<'a> {
    /// Takes apart `LAYER.mlp.experts.3.gate_proj`, `LAYER.block_sparse_moe.experts.3.w1` or `LAYER.mlp.gate`.
    pub fn parse(module: &'a str) -> Option<Self> {
        // What had the experts, and what has them now. The first two have routers that became parameters, too.
        const BLOCKS: [(&str, &str); 4] =
            [(".mlp", "mlp"), (".block_sparse_moe", "mlp"), (".feed_forward", "feed_forward"), (".mixer", "mixer")];
        let within = |rest: &'a str, known: &[(&str, &'static str)]| {
            known.iter().find_map(|(former, block)| Some((rest.strip_suffix(former)?, *block)))
        };
        let (rest, name) = module.rsplit_once('.')?;
        if name == "gate" {
            let (layer, block) = within(rest, &BLOCKS[..2])?;
            return Some(Self { layer, block, name });
        }
        let (rest, number) = rest.rsplit_once('.')?;
        let (layer, block) = within(rest.strip_suffix(".experts")?, &BLOCKS)?;
        (number.parse::<usize>().is_ok() && Self::NAMES.contains(&name)).then_some(Self { layer, block, name })
    }

    /// Whether it is a matrix of one expert rather than a router.
    pub fn is_expert(&self) -> bool {
        self.name != "gate"
    }

    /// The parameter that it is, or is a part of, in transformers 5.
    pub fn parameter(&self) -> String {
        let parameter = match self.name {
            "gate" => "gate.weight",
            "w2" | "down_proj" => "experts.down_proj",
            // The experts of Nemotron-H have no gates.
            _ if self.block == "mixer" => "experts.up_proj",
            _ => "experts.gate_up_proj",
        };
        format!("{}.{}.{parameter}", self.layer, self.block)
    }
}

/// A key that holds a list of names or one regular expression.
fn names(config: &Account, key: &'static str) -> Result<Option<TargetModules>, WrongKey> {
    match config.get(key) {
        Some(Value::String(pattern)) => Ok(Some(TargetModules::Pattern(pattern.clone()))),
        Some(value @ Value::Array(_)) => {
            let names = strings(value).filter(|names| names.len() <= MOST_NAMES);
            Ok(Some(TargetModules::List(names.ok_or((key, "a list of at most 100000 strings"))?)))
        }
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err((key, "a list of strings or one string")),
    }
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
    // `2.0` is the layer 2 to Python.
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0).map(|number| number as u64);
    value.as_u64().or_else(whole).map(|index| index as usize).filter(|&index| index < MOST_LAYERS)
}

/// How many modules there are of each type, which is the last segment of a name.
pub fn module_types<'a>(modules: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut types = BTreeMap::new();
    for module in modules {
        *types.entry(last_segment(module)).or_insert(0) += 1;
    }
    types
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// By comparing each name with each module, which takes too long for many.
    #[test]
    fn parameters_are_found_as_by_comparison() {
        let names = [
            "experts.down_proj",
            "gate_up_proj",
            "mlp.experts.down_proj",
            "layers.1.mlp.experts.down_proj",
            ".x",
            "x.",
        ];
        let config = json!({"target_modules": [], "target_parameters": names});
        let targets = Targets::from_config(&Account::of(config.as_object().unwrap())).unwrap();
        let is_suffix =
            |target: &str, module: &str| module.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'));
        let is_of = |target: &str, owner: &str| match target.rsplit_once('.') {
            Some((module, _)) => module == owner || is_suffix(module, owner),
            None => last_segment(owner) == "experts",
        };
        for owner in
            ["", "x", ".", "a.", "experts", "model.layers.1.mlp.experts", "model.layers.0.mlp.experts", "myexperts"]
        {
            let expected: Vec<&str> = names.into_iter().filter(|name| is_of(name, owner)).map(last_segment).collect();
            assert_eq!(targets.parameters_of(owner), expected, "{owner}");
        }
        // `w1` of an expert became a part of `gate_up_proj`.
        let modules = ["model.layers.0.mlp.experts.3.w1", "model.layers.1.mlp.experts"];
        assert_eq!(targets.unused_parameters(modules.into_iter()), [".x", "x."]);
    }

    #[test]
    fn long_lists_are_refused() {
        for key in ["target_modules", "exclude_modules", "target_parameters"] {
            let config = json!({key: vec!["x"; MOST_NAMES + 1]});
            let wrong = Targets::from_config(&Account::of(config.as_object().unwrap())).unwrap_err();
            assert_eq!(wrong.0, key);
        }
    }
}
