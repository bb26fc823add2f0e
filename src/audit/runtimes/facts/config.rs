//! Facts from the configuration.

use super::AdapterFacts;
use crate::adapter::targets::TargetModules;
use crate::adapter::{Adapter, Method};
use crate::audit::flaws::Flaw;

pub fn other_method(adapter: &Adapter) -> Option<String> {
    let method = adapter.config.method;
    (method != Method::Lora).then(|| format!("the method is {}", method.name()))
}

pub fn method(adapter: &Adapter, methods: &[Method]) -> Option<String> {
    other_method(adapter).filter(|_| methods.contains(&adapter.config.method))
}

pub fn key(adapter: &Adapter, keys: &[&str]) -> Option<String> {
    keys.iter().find(|key| adapter.config.flag(key)).map(|key| format!("`{key}` is set"))
}

pub fn bias(adapter: &Adapter) -> Option<String> {
    let bias = adapter.config.text("bias").filter(|&bias| bias != "none")?;
    Some(format!("`bias` is `{bias}`"))
}

/// LoRA-GA is not among them: PEFT does not repeat it when it loads.
pub fn changes_base(adapter: &Adapter) -> Option<String> {
    adapter.config.changes_base().filter(|_| lora_ga(adapter).is_none())
}

pub fn lora_ga(adapter: &Adapter) -> Option<String> {
    let init = adapter.config.text("init_lora_weights")?.to_lowercase();
    ["lora_ga", "lora-ga"].contains(&init.as_str()).then(|| format!("`init_lora_weights` is `{init}`"))
}

pub fn pattern(adapter: &Adapter) -> Option<String> {
    let modules = &adapter.config.targets.modules;
    let is_regex = matches!(modules, TargetModules::Pattern(_)) && !modules.is_all_linear();
    is_regex.then(|| "`target_modules` is a regular expression".into())
}

pub fn fractional_alpha(adapter: &Adapter) -> Option<String> {
    let alpha = adapter.config.raw.get("lora_alpha")?.as_number()?;
    alpha.is_f64().then(|| format!("`lora_alpha` is `{alpha}`, no whole number"))
}

pub fn rank_stabilised(adapter: &Adapter) -> Option<String> {
    let is_other = adapter.config.rank.is_some_and(|rank| rank > 1) || adapter.config.flag("rank_pattern");
    (adapter.config.is_rank_stabilised() && is_other).then(|| "`use_rslora` is set".into())
}

pub fn named_without_tensors(facts: &AdapterFacts) -> Option<String> {
    facts.selection.iter().find(|flaw| matches!(flaw, Flaw::NamedWithoutTensors { .. })).map(Flaw::to_string)
}

pub fn random_without_tensors(facts: &AdapterFacts) -> Option<String> {
    let is_random = facts.adapter.config.raw.get("init_lora_weights").is_some_and(|init| init == false);
    named_without_tensors(facts).filter(|_| is_random)
}

pub fn not_named(facts: &AdapterFacts) -> Option<String> {
    facts.selection.iter().find(|flaw| matches!(flaw, Flaw::NotNamed { .. })).map(Flaw::to_string)
}

pub fn family_other_than(facts: &AdapterFacts, families: &[&str]) -> Option<String> {
    let family = facts.base.family.as_deref().filter(|family| !families.contains(family))?;
    Some(format!("the base model is of the family {family}"))
}

pub fn family_unknown(facts: &AdapterFacts) -> Option<String> {
    facts.base.family.is_none().then(|| "the base model is not known here".into())
}
