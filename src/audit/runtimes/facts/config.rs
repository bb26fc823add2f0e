//! Facts from the configuration.

use serde_json::Value;

use super::AdapterFacts;
use crate::adapter::targets::TargetModules;
use crate::adapter::{Adapter, Method};
use crate::audit::flaws::Flaw;
use crate::files;

pub fn other_method(adapter: &Adapter) -> Option<String> {
    let method = adapter.config.method;
    (method != Method::Lora).then(|| format!("the method is {}", method.name()))
}

pub fn method(adapter: &Adapter, methods: &[Method]) -> Option<String> {
    other_method(adapter).filter(|_| methods.contains(&adapter.config.method))
}

pub fn key(facts: &AdapterFacts, keys: &[&str]) -> Option<String> {
    // What is saved may be dead.
    let may_go = |key: &str| key == "modules_to_save" && facts.planned.drops_dead_weight;
    let set = keys.iter().find(|key| facts.adapter.config.flag(key) && !may_go(key));
    set.map(|key| format!("`{key}` is set"))
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

pub fn null_targets(adapter: &Adapter) -> Option<String> {
    let is_null = adapter.config.targets.modules == TargetModules::OfModelType;
    is_null.then(|| "`target_modules` is null".into())
}

/// The file may be a copy of the tokenizer's, whose tokens the base model has.
pub fn added_tokens(facts: &AdapterFacts) -> Option<String> {
    let known = facts.base.vocabulary?;
    let tokens: Value = files::read_json(&facts.adapter.path.join("added_tokens.json")).ok()?;
    let beyond = |(_, id): &(&String, &Value)| id.as_u64().is_some_and(|id| id as usize >= known);
    let (token, id) = tokens.as_object()?.iter().find(beyond)?;
    Some(format!("added_tokens.json has `{token}` ({id}), and the base model {known} tokens"))
}

pub fn fractional_alpha(adapter: &Adapter) -> Option<String> {
    let alpha = adapter.config.raw.get("lora_alpha")?.as_number()?;
    alpha.is_f64().then(|| format!("`lora_alpha` is `{alpha}`, no whole number"))
}

pub fn rank_stabilised(adapter: &Adapter) -> Option<String> {
    let is_other = adapter.config.rank.is_some_and(|rank| rank > 1) || adapter.config.flag("rank_pattern");
    (adapter.config.is_rank_stabilised() && is_other).then(|| "`use_rslora` is set".into())
}

pub fn random_without_tensors(facts: &AdapterFacts) -> Option<String> {
    let is_random = facts.adapter.config.raw.get("init_lora_weights").is_some_and(|init| init == false);
    let flaw = facts.flaws().iter().find(|flaw| matches!(flaw, Flaw::NamedWithoutTensors { .. }))?;
    is_random.then(|| flaw.to_string())
}

pub fn family_other_than(facts: &AdapterFacts, families: &[&str]) -> Option<String> {
    let family = facts.base.family.as_deref().filter(|family| !families.contains(family))?;
    Some(format!("the base model is of the family {family}"))
}

pub fn family_of(facts: &AdapterFacts, families: &[&str]) -> Option<String> {
    let family = facts.base.family.as_deref().filter(|family| families.contains(family))?;
    Some(format!("the base model is of the family {family}"))
}

/// Whether the decoder of the base model, which may be a part of it, is known and of one of these families.
pub fn is_decoder_of(facts: &AdapterFacts, families: &[&str]) -> bool {
    facts.base.decoder.as_ref().is_some_and(|decoder| families.contains(&&*decoder.model_type))
}

pub fn family_unknown(facts: &AdapterFacts) -> Option<String> {
    facts.base.family.is_none().then(|| "the base model is not known here".into())
}
