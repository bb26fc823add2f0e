//! Fewer ranks: each module's pair is replaced by the best one of a smaller rank.
//!
//! The configuration is made so that as many runtimes as possible compute the same (docs/reduce.md). Its alpha is the
//! largest rank, whatever it was, and there are no other alphas and no rsLoRA: the scaling of a module is then r over its
//! own rank in all of them that know its rank, and 1 in all of them where the ranks are equal. What a module's scaling was
//! before goes into its factors.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::dtype::encode_tensor;
use super::pair::{self, Decomposition, Pair};
use super::rule::RankRules;
use super::set_rank_and_alpha;
use crate::adapter::names::Part;
use crate::adapter::targets::MovedModule;
use crate::adapter::{Adapter, AdapterTensor, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::rewrite::{Cut, restrict};

/// A module on its way to a smaller rank.
struct Reduced {
    decomposition: Decomposition,
    rank_before: usize,
    rank: usize,
}

/// Writes the adapter with the ranks that `rules` leave. Where they leave all, it is a copy.
pub fn write(adapter: &Adapter, rules: &RankRules, staging: &Staging) -> Result<()> {
    check(adapter)?;
    let modules = adapter.modules();
    let reduce = |(module, parts)| Ok((String::clone(module), reduce(adapter, module, parts, rules)?));
    let modules = modules.par_iter().filter(|(_, parts)| pair::names(parts).is_some()).map(reduce);
    let modules: BTreeMap<String, Reduced> = modules.collect::<Result<_>>()?;
    if modules.values().all(|module| module.rank == module.rank_before) {
        return Cut::whole(adapter)?.write(staging);
    }
    let ranks: BTreeMap<&str, usize> = modules.iter().map(|(name, module)| (name.as_str(), module.rank)).collect();
    check_names(adapter, &ranks)?;
    staging.json(config::FILE_NAME, &reduced_config(&adapter.config.raw, &ranks))?;
    write::copy_sidecars(&adapter.path, staging)?;
    write::write_tensors(staging, &tensors(adapter, &modules)?)
}

/// Refuses what is not one product of two matrices in each module.
pub fn check(adapter: &Adapter) -> Result<()> {
    let refuse = |feature| Err(AdapterError::CannotReduce { path: adapter.path.clone(), feature }.into());
    let config = &adapter.config;
    if config.method.peft_type != "LORA" {
        return refuse(format!("the method {}", config.method.name));
    }
    if let Some(init) = config.changes_base() {
        return refuse(format!("an initialisation that changes the base weights ({init})"));
    }
    if let Some(obstacle) = config.obstacles().into_iter().next() {
        return refuse(obstacle);
    }
    if config.flag("target_parameters") {
        return refuse("LoRA on parameters (`target_parameters`)".into());
    }
    if let Some(module) = adapter.modules().keys().find(|module| MovedModule::parse(module).is_some()) {
        return refuse(format!("LoRA on single experts or routers (`{module}`)"));
    }
    Ok(())
}

/// Names with different ranks have to mean the same modules to PEFT.
fn check_names(adapter: &Adapter, ranks: &BTreeMap<&str, usize>) -> Result<()> {
    let are_equal = ranks.values().collect::<BTreeSet<_>>().len() == 1;
    match ranks.keys().find(|module| restrict::has_old_name(module)) {
        Some(module) if !are_equal => {
            let feature = format!("names that PEFT changes (`{module}`) with ranks that differ");
            Err(AdapterError::CannotReduce { path: adapter.path.clone(), feature }.into())
        }
        _ => Ok(()),
    }
}

fn reduce(adapter: &Adapter, module: &str, parts: &BTreeMap<Part, &str>, rules: &RankRules) -> Result<Reduced> {
    let path = || adapter.path.clone();
    let pair = Pair::load(adapter, module, parts)?;
    let pair =
        pair.ok_or_else(|| AdapterError::CannotReduce { path: path(), feature: format!("the pair of `{module}`") })?;
    let decomposition = pair.decompose();
    let decomposition =
        decomposition.ok_or_else(|| AdapterError::Decomposition { path: path(), module: module.into() })?;
    Ok(Reduced { rank_before: pair.rank(), rank: rules.rank(&decomposition.values), decomposition })
}

/// The configuration with these ranks.
fn reduced_config(raw: &Map<String, Value>, ranks: &BTreeMap<&str, usize>) -> Map<String, Value> {
    let mut raw = raw.clone();
    let largest = largest(ranks.values().copied());
    set_rank_and_alpha(&mut raw, largest, largest as i64);
    let patterns = rank_patterns(ranks, largest);
    if !patterns.is_empty() {
        raw.insert("rank_pattern".into(), Value::Object(patterns));
    }
    raw
}

/// One key for each rank but the largest, which names its modules in full. A key for each module would be easier on the eye, but
/// PEFT tries every key on every module, and Python forgets compiled patterns beyond 512.
fn rank_patterns(ranks: &BTreeMap<&str, usize>, largest: usize) -> Map<String, Value> {
    let mut by_rank: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (module, &rank) in ranks.iter().filter(|(_, rank)| **rank < largest) {
        by_rank.entry(rank).or_default().push(module.replace('.', r"\."));
    }
    // The anchor keeps `layers.0.fc` from meaning `tower.layers.0.fc` too.
    by_rank.into_iter().map(|(rank, modules)| (format!("^(?:{})", modules.join("|")), json!(rank))).collect()
}

fn largest(ranks: impl Iterator<Item = usize>) -> usize {
    ranks.max().unwrap_or(1)
}

/// The tensors in the order of the file: pairs of their new rank, everything else as it was.
fn tensors<'a>(adapter: &'a Adapter, modules: &BTreeMap<String, Reduced>) -> Result<Vec<NewTensor<'a>>> {
    let largest = largest(modules.values().map(|module| module.rank));
    let tensors = write::in_order(adapter);
    let new = |tensor: &AdapterTensor<'a>| -> Result<NewTensor<'a>> {
        let dtype = write::dtype(tensor.entry);
        let mut shape = tensor.entry.shape.clone();
        let encoded = |values: Vec<f32>| encode_tensor(adapter, tensor.name, &values, dtype).map(Cow::Owned);
        let bytes = match (modules.get(&tensor.key.module), tensor.key.part) {
            (Some(module), part @ (Part::LoraA | Part::EmbeddingA | Part::LoraB | Part::EmbeddingB)) => {
                let scale = module.rank as f64 / largest as f64;
                let is_first = matches!(part, Part::LoraA | Part::EmbeddingA);
                shape[usize::from(!is_first)] = module.rank;
                encoded(match is_first {
                    true => module.decomposition.first(module.rank, scale),
                    false => module.decomposition.second(module.rank, scale),
                })?
            }
            // PEFT scales the bias of lora_B as it does what comes before.
            (Some(module), Part::LoraBias) => {
                let factor = adapter.config.scaling_of(&tensor.key.module) * module.rank as f64 / largest as f64;
                let values = adapter.weights.load_finite(tensor.name)?;
                encoded(values.into_iter().map(|value| (f64::from(value) * factor) as f32).collect())?
            }
            _ => Cow::Borrowed(adapter.weights.bytes(tensor.name)?),
        };
        Ok(NewTensor { name: tensor.name.into(), dtype, shape, bytes })
    };
    tensors.par_iter().map(new).collect()
}
