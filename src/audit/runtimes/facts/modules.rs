//! Facts from the modules: their types, their layers, their ranks and scalings.

use std::collections::{BTreeMap, BTreeSet};

use super::{AdapterFacts, shown};
use crate::adapter::names::{is_of_tower, stack_and_layer};
use crate::adapter::targets::MovedModule;
use crate::adapter::{Adapter, Module};
use crate::audit::flaws::{Flaw, Needed};
use crate::format::ranges;
use crate::rewrite::Pair;

/// The modules that are pairs, with their ranks.
fn ranks(adapter: &Adapter) -> impl Iterator<Item = (&Module, usize)> {
    adapter.modules().values().filter_map(|module| Some((module, Pair::rank_of(adapter, module)?)))
}

/// The ranks that modules will have; `None` where they cannot be known before.
fn planned_ranks<'a>(facts: &AdapterFacts<'a>) -> Option<Vec<(&'a Module, usize)>> {
    let most = facts.planned.most_rank.unwrap_or(usize::MAX);
    let planned = ranks(facts.adapter).map(|(module, rank)| (module, rank.min(most)));
    (!facts.planned.varies_ranks).then(|| planned.collect())
}

/// The `r` that the configuration will have.
fn planned_r(facts: &AdapterFacts) -> Option<usize> {
    let is_reduced = |most: &usize| ranks(facts.adapter).any(|(_, rank)| rank > *most);
    facts.planned.most_rank.filter(is_reduced).or(facts.adapter.config.rank)
}

/// The modules of a layer by their last segment.
fn types_by_layer(adapter: &Adapter) -> BTreeMap<usize, BTreeSet<&str>> {
    let mut types: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for module in adapter.modules().values() {
        if let Some(layer) = module.layer {
            types.entry(layer).or_default().insert(module.last_segment());
        }
    }
    types
}

fn types(adapter: &Adapter) -> BTreeSet<&str> {
    types_by_layer(adapter).into_values().flatten().collect()
}

/// The first of the modules for which `is_so` is true, and how many more there are.
fn modules(adapter: &Adapter, is_so: impl Fn(&Module) -> bool) -> Option<String> {
    shown(adapter.modules().values().filter(|module| is_so(module)).map(|module| module.name.clone()))
}

pub fn alphas_differ(adapter: &Adapter) -> Option<String> {
    let alpha = adapter.config.alpha?;
    let alphas = adapter.modules().values().map(|module| (module, adapter.config.alpha_of(module.configured_name())));
    let (module, other) = alphas.into_iter().find(|(_, other)| *other != alpha)?;
    Some(format!("`alpha_pattern` gives `{}` the alpha {other}, where `lora_alpha` is {alpha}", module.name))
}

const VARIED: &str = "the ranks that `--rank` leaves may differ";

pub fn ranks_differ(facts: &AdapterFacts) -> Option<String> {
    let Some(ranks) = planned_ranks(facts) else { return Some(VARIED.into()) };
    let r = planned_r(facts)?;
    let (module, rank) = ranks.into_iter().find(|(_, rank)| *rank != r)?;
    Some(format!("`{}` has the rank {rank}, where `r` is {r}", module.name))
}

pub fn ranks_differ_in_type(facts: &AdapterFacts) -> Option<String> {
    let Some(ranks) = planned_ranks(facts) else { return Some(VARIED.into()) };
    let mut first: BTreeMap<&str, (&Module, usize)> = BTreeMap::new();
    ranks.into_iter().find_map(|(module, rank)| {
        let (other, known) = *first.entry(module.last_segment()).or_insert((module, rank));
        let (name, other) = (&module.name, &other.name);
        (known != rank).then(|| format!("`{name}` has the rank {rank}, where `{other}` has {known}"))
    })
}

pub fn rank_above(facts: &AdapterFacts, most: usize) -> Option<String> {
    let (module, rank) = planned_ranks(facts)?.into_iter().max_by_key(|(_, rank)| *rank)?;
    (rank > most).then(|| format!("the rank is {rank} (`{}`)", module.name))
}

/// The highest rank of a pair of matrices.
pub fn highest_rank(adapter: &Adapter) -> usize {
    ranks(adapter).map(|(_, rank)| rank).max().unwrap_or(0)
}

pub fn rank_other_than(facts: &AdapterFacts, rank: usize, multiple: usize) -> Option<String> {
    let (_, odd) = planned_ranks(facts)?.into_iter().find(|&(_, own)| own != rank && own % multiple != 0)?;
    (types(facts.adapter).len() > 1).then(|| format!("the rank {odd} is neither {rank} nor a multiple of {multiple}"))
}

fn scalings(adapter: &Adapter) -> impl Iterator<Item = (&Module, f64)> {
    ranks(adapter).map(|(module, _)| (module, module.scaling(&adapter.config)))
}

pub fn scalings_differ(adapter: &Adapter) -> Option<String> {
    let (first, one) = scalings(adapter).next()?;
    let (second, other) = scalings(adapter).find(|(_, scaling)| *scaling != one)?;
    Some(format!("`{}` is scaled by {one:.4} and `{}` by {other:.4}", first.name, second.name))
}

pub fn scaling_not_one(adapter: &Adapter) -> Option<String> {
    let (_, scaling) = scalings(adapter).next().filter(|_| scalings_differ(adapter).is_none())?;
    (scaling != 1.0).then(|| format!("the scaling is {scaling}"))
}

pub fn parameters(adapter: &Adapter) -> Option<String> {
    let names = modules(adapter, |module| module.parameter.is_some())?;
    Some(format!("there is LoRA on parameters ({names})"))
}

/// A cut of single experts names them so, too.
pub fn named_as_parameters(facts: &AdapterFacts) -> Option<String> {
    let config = &facts.adapter.config;
    let names = modules(facts.adapter, |module| {
        config.targets.wraps_by_parameter(&module.name) && config.flag("target_parameters")
            || facts.planned.drops_layers && MovedModule::parse(&module.name).is_some()
    })?;
    Some(format!("`target_parameters` names what holds {names}"))
}

pub fn parameters_other_than(adapter: &Adapter, endings: &[&str]) -> Option<String> {
    let names = adapter.config.raw.get("target_parameters")?.as_array()?.iter().filter_map(|name| name.as_str());
    let other = names.filter(|name| !endings.iter().any(|ending| name.ends_with(ending))).map(String::from);
    shown(other).map(|names| format!("`target_parameters` names {names}"))
}

pub fn experts(adapter: &Adapter) -> Option<String> {
    let names = modules(adapter, |module| {
        let number = module.name.split_once(".experts.").and_then(|(_, rest)| rest.split('.').next());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    })?;
    Some(format!("there is LoRA on single experts ({names})"))
}

pub fn towers(adapter: &Adapter) -> Option<String> {
    let names = modules(adapter, |module| module.layer.is_none() && is_of_tower(&module.name))?;
    Some(format!("there is LoRA beside the decoder ({names})"))
}

/// The layers are those of the base model, as far as the base or a list of layers in the configuration tells.
pub fn type_missing(facts: &AdapterFacts) -> Option<String> {
    if facts.planned.drops_layers {
        return Some("the layers that are dropped have no modules then".into());
    }
    let adapter = facts.adapter;
    let by_layer = types_by_layer(adapter);
    let count = facts.base.layers.unwrap_or(adapter.layer_count());
    let lacks = |kind: &str| -> Vec<usize> {
        (0..count).filter(|layer| !by_layer.get(layer).is_some_and(|types| types.contains(kind))).collect()
    };
    let missing = types(adapter).into_iter().map(|kind| (kind, lacks(kind))).find(|(_, layers)| !layers.is_empty());
    if let Some((kind, layers)) = missing {
        let (plural, lack) = if layers.len() == 1 { ("layer", "lacks") } else { ("layers", "lack") };
        return Some(format!("{plural} {} {lack} `{kind}`", ranges(&layers)));
    }
    // A list of layers implies that there are others.
    let layers: Vec<usize> = by_layer.into_keys().collect();
    (facts.base.layers.is_none() && adapter.config.lists_layers())
        .then(|| format!("`layers_to_transform` lists only the layers {}", ranges(&layers)))
}

pub fn lacks_type(adapter: &Adapter, wanted: &[&str]) -> Option<String> {
    let types = types(adapter);
    let lacking = wanted.iter().find(|kind| !types.contains(**kind))?;
    Some(format!("no layer has `{lacking}`"))
}

pub fn has_type(adapter: &Adapter, types: &[&str]) -> Option<String> {
    let names = modules(adapter, |module| types.contains(&module.last_segment()))?;
    Some(format!("there is LoRA on {names}"))
}

pub fn bias_of_all(adapter: &Adapter) -> Option<String> {
    let is_all = adapter.config.text("bias") == Some("all") && has_type(adapter, &["q_proj"]).is_some();
    is_all.then(|| "`bias` is `all`".into())
}

pub fn type_other_than(adapter: &Adapter, known: &[&str]) -> Option<String> {
    let names = modules(adapter, |module| module.layer.is_some() && !known.contains(&module.last_segment()))?;
    Some(format!("there is LoRA on {names}"))
}

/// llama.cpp's converter reorders the rows of query and key in the Llama family alone.
pub fn permuted_queries(facts: &AdapterFacts) -> Option<String> {
    let family = facts.base.family.as_deref();
    let may_be_llama = family.is_none_or(|family| ["llama", "mistral", "mixtral"].contains(&family));
    has_type(facts.adapter, &["q_proj", "k_proj"]).filter(|_| may_be_llama)
}

/// Where there is one of query, key and value, there have to be query and value; where there is up, there has to be gate.
pub fn part_of_fused(adapter: &Adapter) -> Option<String> {
    const NEEDS: [(&str, &str); 5] = [
        ("q_proj", "v_proj"),
        ("k_proj", "q_proj"),
        ("k_proj", "v_proj"),
        ("v_proj", "q_proj"),
        ("up_proj", "gate_proj"),
    ];
    types_by_layer(adapter).into_iter().find_map(|(layer, types)| {
        let (has, lacks) = NEEDS.iter().find(|(has, lacks)| types.contains(*has) && !types.contains(*lacks))?;
        Some(format!("layer {layer} has `{has}` without `{lacks}`"))
    })
}

pub fn grouped_keys(adapter: &Adapter) -> Option<String> {
    let outputs = |kind: &str| {
        let module = adapter.modules().values().find(|module| module.last_segment() == kind)?;
        adapter.module_shape(module).map(|(_, outputs)| outputs)
    };
    let (queries, keys) = (outputs("q_proj")?, outputs("k_proj")?);
    (queries != keys).then(|| format!("queries have {queries} values and keys {keys}"))
}

/// Names of layers that the base model does not have, unless they are taken for those of its model type.
pub fn unmapped(facts: &AdapterFacts, mapped: &[(&str, &[&str])]) -> Option<String> {
    let family = facts.base.family.as_deref().unwrap_or_default();
    let is_mapped =
        |module: &str| mapped.iter().any(|(names, families)| module.starts_with(names) && families.contains(&family));
    facts.flaws().iter().find_map(|flaw| match flaw {
        Flaw::NotInBase { module, needed: Needed::InOtherStack(_), .. } if !is_mapped(module) => Some(flaw.to_string()),
        _ => None,
    })
}

pub fn bare(adapter: &Adapter) -> Option<String> {
    (!adapter.stack.contains('.'))
        .then(|| format!("names begin with `{}.`, as those of a model without a head", adapter.stack))
}

pub fn stack_other_than(adapter: &Adapter, stack: &str) -> Option<String> {
    let is_other = |module: &&String| stack_and_layer(module).is_some_and(|(own, _)| !own.ends_with(stack));
    let module = adapter.modules().keys().find(is_other)?;
    Some(format!("the layers are not named `{stack}` (`{module}`)"))
}
