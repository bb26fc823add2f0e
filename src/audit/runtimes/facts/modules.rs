//! Facts that the modules tell: their types, the layers they are in, their ranks and scalings.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planned, Subject, first_of};
use crate::adapter::Adapter;
use crate::adapter::names::{Part, is_of_tower, stack_and_layer};
use crate::adapter::targets::{MovedModule, last_segment};
use crate::format::ranges;
use crate::rewrite::steps::Pair;

/// The modules that are pairs, with their ranks.
fn ranks(adapter: &Adapter) -> BTreeMap<String, usize> {
    let rank = |(module, parts): (String, BTreeMap<Part, &str>)| {
        let rank = Pair::rank_of(adapter, &module, &parts)?;
        Some((module, rank))
    };
    adapter.modules().into_iter().filter_map(rank).collect()
}

/// The ranks that modules will have, and the `r` of the configuration then; `None` where they cannot be told before.
fn planned_ranks(subject: &Subject) -> Option<(BTreeMap<String, usize>, Option<usize>)> {
    let Planned { varies_ranks, most_rank, .. } = subject.planned;
    let (mut ranks, config) = (ranks(subject.adapter), subject.adapter.config.rank);
    let most = most_rank.filter(|most| ranks.values().any(|rank| rank > most));
    if let Some(most) = most {
        ranks.values_mut().for_each(|rank| *rank = most.min(*rank));
    }
    (!varies_ranks).then_some((ranks, most.or(config)))
}

/// What the configuration calls a module: the parameter, where it is one.
fn configured(adapter: &Adapter, module: &str) -> String {
    adapter.parameter_of(module).unwrap_or(module.into())
}

/// The modules of a layer by their last segment.
fn types_by_layer(adapter: &Adapter) -> BTreeMap<usize, BTreeSet<String>> {
    let mut types: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for module in adapter.modules().into_keys() {
        if let Some(layer) = adapter.layer_of(&module) {
            types.entry(layer).or_default().insert(last_segment(&module).into());
        }
    }
    types
}

fn types(adapter: &Adapter) -> BTreeSet<String> {
    types_by_layer(adapter).into_values().flatten().collect()
}

pub fn alphas_differ(adapter: &Adapter) -> Option<String> {
    let alpha = adapter.config.alpha?;
    let of = |module: &str| adapter.config.alpha_of(&configured(adapter, module));
    let modules = adapter.modules();
    let other = modules.keys().find(|module| of(module) != alpha)?;
    Some(format!("`alpha_pattern` gives `{other}` the alpha {}, where `lora_alpha` is {alpha}", of(other)))
}

const VARIED: &str = "the ranks that `--rank` leaves may differ";

pub fn ranks_differ(subject: &Subject) -> Option<String> {
    let Some((ranks, config)) = planned_ranks(subject) else { return Some(VARIED.into()) };
    let config = config?;
    let (module, rank) = ranks.into_iter().find(|(_, rank)| *rank != config)?;
    Some(format!("`{module}` has the rank {rank}, where `r` is {config}"))
}

pub fn ranks_differ_in_type(subject: &Subject) -> Option<String> {
    let Some((ranks, _)) = planned_ranks(subject) else { return Some(VARIED.into()) };
    let mut first: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for (module, rank) in ranks {
        let (other, known) =
            first.entry(last_segment(&module).into()).or_insert_with(|| (module.clone(), rank)).clone();
        if known != rank {
            return Some(format!("`{module}` has the rank {rank}, where `{other}` has {known}"));
        }
    }
    None
}

pub fn rank_above(subject: &Subject, most: usize) -> Option<String> {
    let (module, rank) = planned_ranks(subject)?.0.into_iter().max_by_key(|(_, rank)| *rank)?;
    (rank > most).then(|| format!("the rank is {rank} (`{module}`)"))
}

/// The highest rank.
pub fn highest_rank(adapter: &Adapter) -> usize {
    ranks(adapter).into_values().max().unwrap_or(0)
}

pub fn rank_other_than(subject: &Subject, rank: usize, multiple: usize) -> Option<String> {
    let odd = planned_ranks(subject)?.0.into_values().find(|&own| own != rank && own % multiple != 0)?;
    (types(subject.adapter).len() > 1).then(|| format!("the rank {odd} is neither {rank} nor a multiple of {multiple}"))
}

fn scalings(adapter: &Adapter) -> BTreeMap<String, f64> {
    let scaling = |module: String| {
        let scaling = adapter.config.scaling_of(&configured(adapter, &module));
        (module, scaling)
    };
    ranks(adapter).into_keys().map(scaling).collect()
}

pub fn scalings_differ(adapter: &Adapter) -> Option<String> {
    let scalings = scalings(adapter);
    let (first, one) = scalings.first_key_value()?;
    let (second, other) = scalings.iter().find(|(_, scaling)| *scaling != one)?;
    Some(format!("`{first}` is scaled by {one:.4} and `{second}` by {other:.4}"))
}

pub fn scaling_not_one(adapter: &Adapter) -> Option<String> {
    let scaling = scalings(adapter).into_values().next().filter(|_| scalings_differ(adapter).is_none())?;
    (scaling != 1.0).then(|| format!("the scaling is {scaling}"))
}

pub fn parameters(adapter: &Adapter) -> Option<String> {
    let modules = adapter.modules().into_keys().filter(|module| adapter.parameter_of(module).is_some());
    first_of(modules).map(|modules| format!("there is LoRA on parameters ({modules})"))
}

/// A cut of single experts names them so, too.
pub fn named_as_parameters(subject: &Subject) -> Option<String> {
    let Subject { adapter, planned, .. } = subject;
    let is_named = |module: &String| {
        adapter.config.targets.wraps_by_parameter(module) && adapter.config.flag("target_parameters")
            || planned.drops_layers && MovedModule::parse(module).is_some()
    };
    let modules = adapter.modules().into_keys().filter(is_named);
    first_of(modules).map(|modules| format!("`target_parameters` names what holds {modules}"))
}

pub fn parameters_other_than(adapter: &Adapter, endings: &[&str]) -> Option<String> {
    let names = adapter.config.raw.get("target_parameters")?.as_array()?.iter().filter_map(|name| name.as_str());
    let other = names.filter(|name| !endings.iter().any(|ending| name.ends_with(ending))).map(String::from);
    first_of(other).map(|names| format!("`target_parameters` names {names}"))
}

pub fn experts(adapter: &Adapter) -> Option<String> {
    let is_expert = |module: &String| {
        module
            .split_once(".experts.")
            .is_some_and(|(_, rest)| rest.split('.').next().is_some_and(|n| n.parse::<u32>().is_ok()))
    };
    first_of(adapter.modules().into_keys().filter(is_expert))
        .map(|names| format!("there is LoRA on single experts ({names})"))
}

pub fn towers(adapter: &Adapter) -> Option<String> {
    let is_beside = |module: &String| adapter.layer_of(module).is_none() && is_of_tower(module);
    first_of(adapter.modules().into_keys().filter(is_beside))
        .map(|names| format!("there is LoRA beside the decoder ({names})"))
}

/// The layers that are there, as far as anything tells: the base model, or a list of layers in the configuration.
pub fn type_missing(subject: &Subject) -> Option<String> {
    if subject.planned.drops_layers {
        return Some("the layers that are dropped have no modules then".into());
    }
    let adapter = subject.adapter;
    let by_layer = types_by_layer(adapter);
    let all: BTreeSet<&String> = by_layer.values().flatten().collect();
    let count = subject.layers.unwrap_or(adapter.layer_count());
    let lacks = |kind: &String| -> Vec<usize> {
        (0..count).filter(|layer| !by_layer.get(layer).is_some_and(|types| types.contains(kind))).collect()
    };
    let missing = all.into_iter().map(|kind| (kind, lacks(kind))).find(|(_, layers)| !layers.is_empty());
    if let Some((kind, layers)) = missing {
        let plural = if layers.len() == 1 { "layer" } else { "layers" };
        return Some(format!("{plural} {} lack `{kind}`", ranges(&layers)));
    }
    // Who lists layers means that there are others.
    let layers: Vec<usize> = by_layer.into_keys().collect();
    (subject.layers.is_none() && adapter.config.lists_layers())
        .then(|| format!("`layers_to_transform` lists only the layers {}", ranges(&layers)))
}

pub fn lacks_type(adapter: &Adapter, wanted: &[&str]) -> Option<String> {
    let types = types(adapter);
    let lacking = wanted.iter().find(|kind| !types.contains(**kind))?;
    Some(format!("no layer has `{lacking}`"))
}

pub fn has_type(adapter: &Adapter, types: &[&str]) -> Option<String> {
    let is_one = |module: &String| types.contains(&last_segment(module));
    first_of(adapter.modules().into_keys().filter(is_one)).map(|names| format!("there is LoRA on {names}"))
}

pub fn bias_of_all(adapter: &Adapter) -> Option<String> {
    let is_all = adapter.config.text("bias") == Some("all") && has_type(adapter, &["q_proj"]).is_some();
    is_all.then(|| "`bias` is `all`".into())
}

pub fn type_other_than(adapter: &Adapter, known: &[&str]) -> Option<String> {
    let is_other = |module: &String| adapter.layer_of(module).is_some() && !known.contains(&last_segment(module));
    first_of(adapter.modules().into_keys().filter(is_other)).map(|names| format!("there is LoRA on {names}"))
}

/// The converter of llama.cpp reorders the rows of query and key in the Llama family alone.
pub fn permuted_queries(subject: &Subject) -> Option<String> {
    const PERMUTED: [&str; 2] = ["q_proj", "k_proj"];
    let may_be_llama = subject.family.is_none_or(|family| ["llama", "mistral", "mixtral"].contains(&family));
    has_type(subject.adapter, &PERMUTED).filter(|_| may_be_llama)
}

/// Query and value are needed wherever any of the three is, and gate wherever up is.
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
    let modules = adapter.modules();
    let outputs = |kind: &str| {
        let (_, parts) = modules.iter().find(|(module, _)| last_segment(module) == kind)?;
        adapter.module_shape(parts).map(|(_, outputs)| outputs)
    };
    let (queries, keys) = (outputs("q_proj")?, outputs("k_proj")?);
    (queries != keys).then(|| format!("queries have {queries} values and keys {keys}"))
}

pub fn bare(adapter: &Adapter) -> Option<String> {
    (!adapter.stack.contains('.'))
        .then(|| format!("names begin with `{}.`, as those of a model without a head", adapter.stack))
}

pub fn stack_other_than(adapter: &Adapter, stack: &str) -> Option<String> {
    let modules = adapter.modules();
    let module = modules.keys().find(|module| stack_and_layer(module).is_some_and(|(own, _)| !own.ends_with(stack)))?;
    Some(format!("the layers are not named `{stack}` (`{module}`)"))
}
