//! `--pad-zeros`: zeros for the dropped layers, for runtimes that need a tensor of each type of module in every layer.
//!
//! LoRAX and TGI ignore a type of module that any layer lacks, and S-LoRA fails on one. A pair of zeros adds nothing to the
//! weights, but takes as much memory as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{FlagValue, Order, PlannedChanges, Purpose, Step, StepDetails, StepFlag, StepInput};
use crate::adapter::{Adapter, Capability, Module, config};
use crate::error::Result;
use crate::files::Staging;
use crate::format;
use crate::rewrite::restrict;
use crate::rewrite::write::{self, NewTensor};
use crate::tensors::Dtype;

pub static FLAG: StepFlag = StepFlag {
    name: "pad-zeros",
    value: FlagValue::Optional("LAYERS"),
    help: "Write zeros for the dropped layers, too, as LoRAX, TGI and S-LoRA want it; with a number, for all layers of a base model \
           that has so many",
    purpose: Purpose::Runtimes,
    parse: |value| Ok(Arc::new(PadZeros { layers: value.map(parse_layers).transpose()? })),
};

/// Adds pairs of zeros.
#[derive(Debug)]
struct PadZeros {
    /// The layers of the base model, all of which get pairs; otherwise those of the original do.
    layers: Option<usize>,
}

fn parse_layers(text: &str) -> std::result::Result<usize, String> {
    const LAYERS: std::ops::RangeInclusive<u64> = 1..=100_000;
    let layers: u64 = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if LAYERS.contains(&layers) { Ok(layers as usize) } else { Err(format!("{layers} is not in {LAYERS:?}")) }
}

impl Step for PadZeros {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn setting(&self) -> Option<String> {
        self.layers.map(|layers| layers.to_string())
    }

    fn order(&self) -> Order {
        Order::AddModules
    }

    fn check(&self, adapter: &Adapter) -> Result<()> {
        adapter.require(Capability::PadZeros)
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.pads_layers = true;
    }

    /// Adds zeros for every module that `original` has, and for those that it would have with more layers like its own.
    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let StepInput { adapter, original, .. } = *input;
        self.check(original)?;
        let missing = missing_pairs(adapter, original, self.layers.unwrap_or(0))?;
        let added = missing.iter().map(|pair| pair.module.as_str());
        let all = adapter.modules().keys().map(String::as_str).chain(added).collect();
        staging.json(config::FILE_NAME, &padded_config(adapter, original, &all))?;
        write::copy_sidecars(&adapter.path, staging)?;
        let present = write::in_file_order(adapter);
        let mut tensors =
            present.iter().map(|tensor| NewTensor::unchanged(adapter, tensor)).collect::<Result<Vec<_>>>()?;
        for MissingPair { module, a, b, highest_rank } in missing {
            let rank = adapter.config.rank_of(&module);
            // `rank_pattern` can hold any number, and nothing else limits the rank of a module without tensors.
            if rank > highest_rank {
                let feature = format!("the rank {rank} for `{module}`, whose like have {highest_rank} at most");
                return Err(original.refusal(Capability::PadZeros, feature).into());
            }
            tensors.push(zeros(a.name, a.dtype, vec![rank, a.size]));
            tensors.push(zeros(b.name, b.dtype, vec![b.size, rank]));
        }
        write::write_tensors(staging, &tensors)?;
        let added = &tensors[adapter.tensors().count()..];
        let bytes = added.iter().map(|tensor| tensor.bytes.len() as u64).sum();
        Ok(StepDetails { zeros: Some(Zeros { tensors: added.len(), bytes }), ..StepDetails::default() })
    }
}

/// Tensors that hold only zeros.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Zeros {
    pub tensors: usize,
    pub bytes: u64,
}

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, tensors) = (format::bytes(self.bytes), self.tensors);
        let memory = "which take as much memory as others; only compressed files are smaller";
        write!(f, "zeros: {bytes} in {tensors} tensors, {memory}")
    }
}

/// A pair to add.
struct MissingPair {
    module: String,
    a: MissingFactor,
    b: MissingFactor,
    /// The highest rank that a module of its type and sizes has.
    highest_rank: usize,
}

struct MissingFactor {
    name: String,
    /// The dimension that is not the rank.
    size: usize,
    dtype: Dtype,
}

fn zeros(name: String, dtype: Dtype, shape: Vec<usize>) -> NewTensor<'static> {
    let bytes = vec![0; (shape.iter().product::<usize>() * dtype.bitsize()).div_ceil(8)];
    NewTensor { name: name.into(), dtype, shape, bytes: bytes.into() }
}

/// The pairs to add, each with the sizes that it has in the original, or that its type has in the nearest layer below.
fn missing_pairs(adapter: &Adapter, original: &Adapter, layers: usize) -> Result<Vec<MissingPair>> {
    let known = original.modules();
    // By the name inside a layer, the layers that have it.
    let mut by_type: BTreeMap<&str, BTreeMap<usize, &Module>> = BTreeMap::new();
    for module in known.values() {
        if let Some(layer) = module.layer {
            by_type.entry(original.inside_layer(&module.name, layer)).or_default().insert(layer, module);
        }
    }
    let mut missing = Vec::new();
    for layer in 0..original.layer_count().max(layers) {
        for (inside, by_layer) in &by_type {
            let module = format!("{}.{layer}.{inside}", original.stack);
            let is_needed = known.contains_key(&module) || layers > 0;
            if adapter.modules().contains_key(&module) || !is_needed {
                continue;
            }
            let nearest = by_layer.range(..=layer).next_back().or(by_layer.iter().next());
            let Some((like, (a, b))) = nearest.and_then(|(_, like)| Some((*like, like.pair()?))) else { continue };
            let factor = |name: &str, dim: usize| -> Result<MissingFactor> {
                let entry = original.weights.entry(name)?;
                let name = name.replacen(&like.name, &module, 1);
                Ok(MissingFactor { name, size: entry.shape[dim], dtype: write::dtype(entry) })
            };
            let (a, b) = (factor(a, 1)?, factor(b, 0)?);
            let is_alike = |module: &&&Module| original.module_shape(module) == Some((a.size, b.size));
            let rank = |module: &&Module| original.weights.get(module.pair()?.0)?.shape.first().copied();
            let highest_rank = by_layer.values().filter(is_alike).filter_map(rank).max().unwrap_or(0);
            missing.push(MissingPair { module, a, b, highest_rank });
        }
    }
    Ok(missing)
}

/// The configuration of `adapter` that selects the modules `all`: as the original does, if that selects exactly these.
fn padded_config(adapter: &Adapter, original: &Adapter, all: &BTreeSet<&str>) -> Map<String, Value> {
    const SELECTION: [&str; 4] = ["target_modules", "layers_to_transform", "layers_pattern", "exclude_modules"];
    let mut raw = adapter.config.raw.clone();
    for key in SELECTION {
        if let Some(value) = original.config.raw.get(key) {
            raw.insert(key.into(), value.clone());
        }
    }
    if !all.iter().all(|module| original.config.targets.matches(module) == Some(true)) {
        restrict::restrict(&mut raw, all, all, adapter.config.method);
    }
    raw
}
