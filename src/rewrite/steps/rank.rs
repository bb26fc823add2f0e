//! `--rank`: each module's pair is replaced by the best one of a smaller rank.
//!
//! The configuration is such that as many runtimes as possible compute the same (docs/reduce.md). Alpha is the largest rank, and
//! there are no other alphas and no rsLoRA: a runtime that knows the rank r' of a module scales it by r / r', and where all ranks
//! are equal, every runtime scales by 1. What the scaling of a module was before goes into its factors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::rank_rules::RankRules;
use super::{FlagValue, Order, PlannedChanges, Purpose, Step, StepDetails, StepFlag, StepInput, set_rank_and_alpha};
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, Capability, Module, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::rewrite::{Cut, Decomposition, Pair, restrict};

pub static FLAG: StepFlag = StepFlag {
    name: "rank",
    value: FlagValue::Required("RULE"),
    help: "Then reduce each module's rank by a singular value decomposition: to N, to what keeps a share of ‖ΔW‖² (energy:0.99), to \
           singular values above the largest / N (ratio:10), or to the least of several (energy:0.99,16)",
    purpose: Purpose::Size,
    parse: |value| Ok(Arc::new(ReduceRank { rules: value.unwrap_or_default().parse()? })),
};

/// Reduces ranks.
#[derive(Debug)]
struct ReduceRank {
    rules: RankRules,
}

impl Step for ReduceRank {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn setting(&self) -> Option<String> {
        Some(self.rules.to_string())
    }

    fn order(&self) -> Order {
        Order::ReduceRanks
    }

    fn check(&self, adapter: &Adapter) -> Result<()> {
        adapter.require(Capability::ReduceRank)
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.most_rank = self.rules.same_for_all();
        planned.varies_ranks = planned.most_rank.is_none();
    }

    /// Writes the adapter with the ranks that the rules leave; a copy, where they leave all.
    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        self.check(adapter)?;
        let modules: Vec<&Module> = adapter.modules().values().filter(|module| module.pair().is_some()).collect();
        let reduce = |module: &&Module| Ok((module.name.clone(), self.reduce(adapter, module)?));
        let modules: BTreeMap<String, Reduced> = modules.par_iter().map(reduce).collect::<Result<_>>()?;
        write_reduced(adapter, &modules, staging)?;
        Ok(StepDetails::default())
    }

    fn caution(&self, last: &Adapter) -> Option<&'static str> {
        last.config.flag("rank_pattern").then_some(
            "the modules have different ranks now: runtimes that ignore `rank_pattern` (SGLang, LoRAX, older vLLM) would \
             scale them wrongly or refuse them; `--rank N` gives all the same rank",
        )
    }
}

/// The decomposition of a module's ΔW, and how much of it stays.
pub struct Reduced {
    pub decomposition: Decomposition,
    pub rank_before: usize,
    pub rank: usize,
}

/// Writes the adapter with its modules, by name, at these ranks; a copy, where they are as before.
pub fn write_reduced(adapter: &Adapter, modules: &BTreeMap<String, Reduced>, staging: &Staging) -> Result<()> {
    if modules.values().all(|module| module.rank == module.rank_before) {
        return Cut::whole(adapter)?.write(staging);
    }
    let ranks: BTreeMap<&str, usize> = modules.iter().map(|(name, module)| (name.as_str(), module.rank)).collect();
    check_names(adapter, &ranks)?;
    staging.json(config::FILE_NAME, &reduced_config(&adapter.config.raw, &ranks))?;
    write::copy_sidecars(&adapter.path, staging)?;
    write::write_tensors(staging, &tensors(adapter, modules)?)
}

/// The error of a decomposition that does not converge.
pub fn diverges(adapter: &Adapter, module: &Module) -> crate::Error {
    AdapterError::Decomposition { path: adapter.path.clone(), module: module.name.clone() }.into()
}

impl ReduceRank {
    fn reduce(&self, adapter: &Adapter, module: &Module) -> Result<Reduced> {
        let no_pair = || adapter.refusal(Capability::ReduceRank, format!("the pair of `{}`", module.name));
        let pair = Pair::load(adapter, module)?.ok_or_else(no_pair)?;
        let decomposition = pair.decompose().ok_or_else(|| diverges(adapter, module))?;
        Ok(Reduced { rank_before: pair.rank(), rank: self.rules.rank(&decomposition.values), decomposition })
    }
}

/// Names with different ranks have to mean the same modules to PEFT.
fn check_names(adapter: &Adapter, ranks: &BTreeMap<&str, usize>) -> Result<()> {
    let are_equal = ranks.values().collect::<BTreeSet<_>>().len() == 1;
    match ranks.keys().find(|module| restrict::has_old_name(module)) {
        Some(module) if !are_equal => {
            let feature = format!("names that PEFT changes (`{module}`) with ranks that differ");
            Err(adapter.refusal(Capability::ReduceRank, feature).into())
        }
        _ => Ok(()),
    }
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

/// One key for each rank but the largest, which names its modules in full. A key for each module would read better, but
/// PEFT tries every key on every module, and Python drops compiled patterns beyond 512.
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
    let new = |tensor: &AdapterTensor<'a>| -> Result<NewTensor<'a>> {
        let (mut new, part) = (NewTensor::unchanged(adapter, tensor)?, tensor.key.part);
        let Some(module) = modules.get(&tensor.key.module) else { return Ok(new) };
        let scale = module.rank as f64 / largest as f64;
        let values: Vec<f32> = if part.is_first_factor() {
            new.shape[0] = module.rank;
            module.decomposition.first(module.rank, scale)
        } else if part.is_second_factor() {
            new.shape[1] = module.rank;
            module.decomposition.second(module.rank, scale)
        } else if part == Part::LoraBias {
            // PEFT scales the bias of lora_B like the product.
            let factor = adapter.config.scaling_of(&tensor.key.module) * module.rank as f64 / largest as f64;
            let values = adapter.weights.load_finite(tensor.name)?;
            values.into_iter().map(|value| (f64::from(value) * factor) as f32).collect()
        } else {
            return Ok(new);
        };
        new.dtype = write::computed_dtype(new.dtype);
        new.bytes = write::encode(adapter, tensor.name, &values, new.dtype)?.into();
        Ok(new)
    };
    write::in_file_order(adapter).par_iter().map(new).collect()
}
