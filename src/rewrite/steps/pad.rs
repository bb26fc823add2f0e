//! Zeros where layers were dropped, for runtimes that want every layer to have a tensor for each type of module.
//!
//! LoRAX and TGI leave out a type of module that any layer lacks, and S-LoRA fails on one. A pair of zeros adds nothing, like no
//! pair at all, but it takes its place in memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::pair;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::restrict;
use crate::rewrite::write::{self, NewTensor};
use crate::tensors::Dtype;

/// A pair that is to be filled in.
struct Missing {
    module: String,
    /// The name, the size that is not the rank, and the type of both tensors.
    a: (String, usize, Dtype),
    b: (String, usize, Dtype),
    /// The highest rank that a module of its type and sizes has.
    most: usize,
}

/// Refuses adapters of which a pair of zeros would not be nothing.
pub fn check(original: &Adapter) -> Result<()> {
    let refuse = |feature| Err(AdapterError::CannotPad { path: original.path.clone(), feature }.into());
    let config = &original.config;
    if config.method.peft_type != "LORA" {
        return refuse(format!("the method {}", config.method.name));
    }
    for (key, words) in [("use_dora", "DoRA"), ("target_parameters", "LoRA on parameters")] {
        if config.flag(key) {
            return refuse(format!("{words} (`{key}`)"));
        }
    }
    let other = original.modules().into_iter().find(|(_, parts)| !is_plain(original, parts));
    match other {
        Some((module, _)) => refuse(format!("more than a pair of matrices (`{module}`)")),
        None => Ok(()),
    }
}

/// Whether a module has a pair of matrices and at most a bias beside.
fn is_plain(adapter: &Adapter, parts: &BTreeMap<Part, &str>) -> bool {
    let is_matrix = |name: &str| adapter.weights.get(name).is_some_and(|entry| entry.shape.len() == 2);
    let has_plain_parts =
        parts.keys().all(|part| matches!(part, Part::LoraA | Part::LoraB | Part::EmbeddingA | Part::EmbeddingB));
    has_plain_parts && pair::names(parts).is_some_and(|(a, b)| is_matrix(a) && is_matrix(b))
}

/// Writes `adapter`, a cut of `original`, with zeros for every module that `original` has and for those that it would have if its
/// layers were `layers` and all like its others.
pub fn write(adapter: &Adapter, original: &Adapter, layers: Option<usize>, staging: &Staging) -> Result<()> {
    check(original)?;
    let missing = missing(adapter, original, layers.unwrap_or(0))?;
    let present = adapter.modules();
    let added = missing.iter().map(|missing| missing.module.as_str());
    let all = present.keys().map(String::as_str).chain(added).collect();
    staging.json(config::FILE_NAME, &padded_config(adapter, original, &all))?;
    write::copy_sidecars(&adapter.path, staging)?;
    let mut tensors = Vec::new();
    for tensor in write::in_order(adapter) {
        let (dtype, shape) = (write::dtype(tensor.entry), tensor.entry.shape.clone());
        let bytes = Cow::Borrowed(adapter.weights.bytes(tensor.name)?);
        tensors.push(NewTensor { name: tensor.name.into(), dtype, shape, bytes });
    }
    for Missing { module, a: (name_a, inputs, dtype_a), b: (name_b, outputs, dtype_b), most } in missing {
        let rank = adapter.config.rank_of(&module);
        // `rank_pattern` can hold any number, and nothing else limits that of a module without tensors.
        if rank > most {
            let feature = format!("the rank {rank} for `{module}`, whose like have {most} at most");
            return Err(AdapterError::CannotPad { path: original.path.clone(), feature }.into());
        }
        tensors.push(zeros(name_a, dtype_a, vec![rank, inputs]));
        tensors.push(zeros(name_b, dtype_b, vec![outputs, rank]));
    }
    write::write_tensors(staging, &tensors)
}

fn zeros(name: String, dtype: Dtype, shape: Vec<usize>) -> NewTensor<'static> {
    let bytes = vec![0; (shape.iter().product::<usize>() * dtype.bitsize()).div_ceil(8)];
    NewTensor { name: name.into(), dtype, shape, bytes: bytes.into() }
}

/// The modules to fill in, each with the sizes that it has in the original, or that its like has in the nearest layer below.
fn missing(adapter: &Adapter, original: &Adapter, layers: usize) -> Result<Vec<Missing>> {
    let (present, known) = (adapter.modules(), original.modules());
    // By the name inside a layer, the layers that have it.
    let mut like: BTreeMap<&str, BTreeMap<usize, &str>> = BTreeMap::new();
    for module in known.keys() {
        if let Some(layer) = original.layer_of(module) {
            like.entry(original.inside_layer(module, layer)).or_default().insert(layer, module);
        }
    }
    let mut missing = Vec::new();
    for layer in 0..original.layer_count().max(layers) {
        for (inside, by_layer) in &like {
            let module = format!("{}.{layer}.{inside}", original.stack);
            let is_wanted = known.contains_key(&module) || layers > 0;
            if present.contains_key(&module) || !is_wanted {
                continue;
            }
            let nearest = by_layer.range(..=layer).next_back().or(by_layer.iter().next());
            let Some((like, (a, b))) = nearest.and_then(|(_, like)| Some((*like, pair::names(&known[*like])?))) else {
                continue;
            };
            let tensor = |name: &str, dim: usize| -> Result<(String, usize, Dtype)> {
                let entry = original.weights.entry(name)?;
                Ok((name.replacen(like, &module, 1), entry.shape[dim], write::dtype(entry)))
            };
            let (a, b) = (tensor(a, 1)?, tensor(b, 0)?);
            let is_alike = |module: &&str| original.module_shape(&known[*module]) == Some((a.1, b.1));
            let most =
                by_layer.values().copied().filter(is_alike).filter_map(|module| rank_of(original, &known[module]));
            let most = most.max().unwrap_or(0);
            missing.push(Missing { module, a, b, most });
        }
    }
    Ok(missing)
}

/// The rank of a pair as its tensors have it.
fn rank_of(adapter: &Adapter, parts: &BTreeMap<Part, &str>) -> Option<usize> {
    adapter.weights.get(pair::names(parts)?.0)?.shape.first().copied()
}

/// The configuration of `adapter`, for the modules `all`: as the original selected them, if that is these.
fn padded_config(adapter: &Adapter, original: &Adapter, all: &BTreeSet<&str>) -> Map<String, Value> {
    const SELECTION: [&str; 4] = ["target_modules", "layers_to_transform", "layers_pattern", "exclude_modules"];
    let mut raw = adapter.config.raw.clone();
    for key in SELECTION {
        if let Some(value) = original.config.raw.get(key) {
            raw.insert(key.into(), value.clone());
        }
    }
    if !all.iter().all(|module| original.config.targets.matches(module) == Some(true)) {
        restrict::restrict(&mut raw, all, all, true);
    }
    raw
}
