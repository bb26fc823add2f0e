//! Plain LoRA with one rank and one alpha, for runtimes that read nothing else of a configuration.
//!
//! Such runtimes take alpha over the rank for the scaling of every module: alpha and rank from the configuration (SGLang), or the
//! rank from the tensors (llama.cpp, TensorRT-LLM). They agree with PEFT where all modules have one rank and one
//! scaling, so what makes modules differ (rsLoRA, `rank_pattern`, `alpha_pattern`, AdaLoRA's values) goes into the factors: ΔW
//! stays what it is, but for one rounding to the type of the tensor.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::dtype::encode_tensor;
use super::{pair, set_rank_and_alpha};
use crate::adapter::names::Part;
use crate::adapter::targets::{MovedModule, TargetModules};
use crate::adapter::{Adapter, AdapterTensor, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::rewrite::{fold, restrict};

/// What a portable adapter has in common, and what that changes in its modules.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The largest rank of any module.
    pub rank: usize,
    /// A whole number: not every runtime reads others.
    pub alpha: i64,
    /// By module: what `lora_B` is multiplied with, and the rank that the tensors have now.
    modules: BTreeMap<String, (f64, usize)>,
    /// Whether AdaLoRA's values go into `lora_A`.
    has_values: bool,
}

impl Plan {
    /// The number of modules whose tensors are multiplied with something.
    pub fn folded(&self) -> usize {
        self.modules.values().filter(|(factor, _)| *factor != 1.0 || self.has_values).count()
    }

    /// The number of modules whose rank is filled up with zeros.
    pub fn padded(&self) -> usize {
        self.modules.values().filter(|(_, rank)| *rank != self.rank).count()
    }

    /// The factor and the rank of a module that has a pair.
    fn of(&self, module: &str) -> Option<(f64, usize)> {
        self.modules.get(module).copied()
    }
}

/// The plan for an adapter, or why there is none. Reads no more than headers.
pub fn plan(adapter: &Adapter) -> Result<Plan> {
    let refuse = |feature| AdapterError::NotPortable { path: adapter.path.clone(), feature };
    check_method(adapter).map_err(refuse)?;
    let mut scalings = BTreeMap::new();
    for (module, parts) in adapter.modules() {
        let Some((a, b)) = pair::names(&parts) else { continue };
        let (shape_a, shape_b) = (&adapter.weights.entry(a)?.shape, &adapter.weights.entry(b)?.shape);
        let parameter = adapter.parameter_of(&module);
        let rank = match &parameter {
            Some(parameter) => adapter.config.rank_of(parameter),
            None => shape_a.first().copied().unwrap_or(0),
        };
        let is_pair = shape_a.len() >= 2 && shape_b.len() >= 2 && (parameter.is_some() || shape_b[1] == rank);
        if !is_pair {
            return Err(refuse(format!("the pair of `{module}`")).into());
        }
        scalings.insert(module.clone(), (adapter.config.scaling_of(&parameter.unwrap_or(module)), rank));
    }
    let rank = scalings.values().map(|(_, rank)| *rank).max().unwrap_or(1).max(1);
    let alpha = whole_alpha(fold::most_common(scalings.values().map(|(scaling, _)| scaling * rank as f64)));
    let factor = |scaling: f64| fold::factor(scaling * rank as f64, alpha as f64);
    let modules = scalings.into_iter().map(|(module, (scaling, rank))| (module, (factor(scaling), rank)));
    let has_values = adapter.config.method.peft_type == "ADALORA";
    let plan = Plan { rank, alpha, modules: modules.collect(), has_values };
    check_experts(adapter, &plan).map_err(refuse)?;
    Ok(plan)
}

/// A whole number near the alpha that most modules want.
fn whole_alpha(wanted: f64) -> i64 {
    let whole = wanted.round() as i64;
    if whole == 0 { 1 } else { whole }
}

fn check_method(adapter: &Adapter) -> std::result::Result<(), String> {
    let config = &adapter.config;
    if !matches!(config.method.peft_type, "LORA" | "ADALORA") {
        return Err(format!("the method {}", config.method.name));
    }
    if let Some(init) = config.changes_base() {
        return Err(format!("an initialisation that changes the base weights ({init})"));
    }
    config.obstacles().into_iter().next().map_or(Ok(()), Err)
}

/// The experts of a layer are folded into the rank of one pair, whose rows are not padded, and single ones PEFT puts together to such
/// pairs, with one scaling for all.
fn check_experts(adapter: &Adapter, plan: &Plan) -> std::result::Result<(), String> {
    let parameter = |module: &&String| adapter.parameter_of(module).is_some();
    let is_padded = |module: &&String| plan.of(module).is_some_and(|(_, rank)| rank != plan.rank);
    if let Some(module) = plan.modules.keys().filter(parameter).find(is_padded) {
        return Err(format!("LoRA on parameters with a rank of its own (`{module}`)"));
    }
    let Some(module) = plan.modules.keys().find(|module| MovedModule::parse(module).is_some()) else { return Ok(()) };
    let refuse = |what: &str| Err(format!("LoRA on single experts or routers (`{module}`) {what}"));
    if plan.folded() > 0 || plan.padded() > 0 {
        return refuse("with scalings that differ");
    }
    match adapter.config.targets.modules {
        TargetModules::Pattern(_) => refuse("that a pattern selects"),
        TargetModules::List(_) => Ok(()),
    }
}

/// Writes the adapter as [`plan`] says.
pub fn write(adapter: &Adapter, staging: &Staging) -> Result<()> {
    let plan = plan(adapter)?;
    staging.json(config::FILE_NAME, &portable_config(adapter, &plan))?;
    write::copy_sidecars(&adapter.path, staging)?;
    let tensors = write::in_order(adapter);
    let tensors = tensors.par_iter().filter(|tensor| tensor.key.part != Part::Factor("lora_E"));
    let tensors: Vec<NewTensor> = tensors.map(|tensor| portable(adapter, &plan, tensor)).collect::<Result<_>>()?;
    write::write_tensors(staging, &tensors)
}

/// The keys that `AdaLoraConfig` has beyond `LoraConfig`.
pub const ADALORA_KEYS: [&str; 10] = [
    "target_r",
    "init_r",
    "tinit",
    "tfinal",
    "deltaT",
    "beta1",
    "beta2",
    "orth_reg_weight",
    "total_step",
    "rank_pattern",
];

fn portable_config(adapter: &Adapter, plan: &Plan) -> Map<String, Value> {
    let mut raw = adapter.config.raw.clone();
    if adapter.config.method.peft_type == "ADALORA" {
        raw.retain(|key, _| !ADALORA_KEYS.contains(&key.as_str()));
        raw.insert("peft_type".into(), json!("LORA"));
    }
    set_rank_and_alpha(&mut raw, plan.rank, plan.alpha);
    let modules = adapter.modules();
    // Parameters that stand for single experts have a rank and an alpha of their own.
    let has_own_patterns =
        adapter.config.flag("target_parameters") && modules.keys().any(|module| MovedModule::parse(module).is_some());
    if matches!(adapter.config.targets.modules, TargetModules::Pattern(_)) || has_own_patterns {
        let all = modules.keys().map(String::as_str).collect();
        restrict::restrict(&mut raw, &all, &all, adapter.config.method.selects_layers);
    }
    raw
}

/// A tensor under PEFT's own name, with the factor and the rank that the plan gives to its module.
fn portable<'a>(adapter: &'a Adapter, plan: &Plan, tensor: &AdapterTensor<'a>) -> Result<NewTensor<'a>> {
    let (dtype, mut shape) = (write::dtype(tensor.entry), tensor.entry.shape.clone());
    let name = tensor.key.plain_name(tensor.name);
    let as_it_is = |shape| -> Result<NewTensor<'a>> {
        Ok(NewTensor { name: name.clone(), dtype, shape, bytes: Cow::Borrowed(adapter.weights.bytes(tensor.name)?) })
    };
    let Some((factor, rank)) = plan.of(&tensor.key.module) else { return as_it_is(shape) };
    let is_padded = rank != plan.rank;
    let load = || adapter.weights.load_finite(tensor.name);
    let values = match tensor.key.part {
        Part::LoraA | Part::EmbeddingA => {
            let values = singular_values(adapter, tensor)?;
            if values.is_none() && !is_padded {
                return as_it_is(shape);
            }
            let columns = shape[1..].iter().product::<usize>();
            let mut rows = load()?;
            for (row, value) in rows.chunks_mut(columns.max(1)).zip(values.into_iter().flatten()) {
                row.iter_mut().for_each(|x| *x *= value);
            }
            if is_padded {
                shape[0] = plan.rank;
                rows.resize(plan.rank * columns, 0.0);
            }
            rows
        }
        Part::LoraB | Part::EmbeddingB | Part::LoraBias if factor != 1.0 || is_padded => {
            let mut values = load()?;
            fold::fold(&mut values, factor);
            if is_padded && tensor.key.part != Part::LoraBias {
                shape[1] = plan.rank;
                values = pad_columns(&values, shape[0], shape.iter().skip(1).product());
            }
            values
        }
        _ => return as_it_is(shape),
    };
    let bytes = Cow::Owned(encode_tensor(adapter, tensor.name, &values, dtype)?);
    Ok(NewTensor { name, dtype, shape, bytes })
}

/// AdaLoRA's values, which stand between the factors of a module.
fn singular_values(adapter: &Adapter, lora_a: &AdapterTensor) -> Result<Option<Vec<f32>>> {
    let is_adalora = adapter.config.method.peft_type == "ADALORA";
    is_adalora.then(|| adapter.weights.load_finite(&lora_a.name.replace(".lora_A", ".lora_E"))).transpose()
}

/// The rows of a matrix, each filled up with zeros to `columns` values.
fn pad_columns(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let before = values.len() / rows.max(1);
    let mut padded = vec![0.0; rows * columns];
    if before > 0 {
        for (row, new) in values.chunks(before).zip(padded.chunks_mut(columns)) {
            new[..before].copy_from_slice(row);
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_a_whole_number_and_never_nothing() {
        assert_eq!(whole_alpha(16.0 * 8f64.sqrt()), 45);
        assert_eq!(whole_alpha(0.2), 1);
        assert_eq!(whole_alpha(-4.0), -4);
    }

    #[test]
    fn rows_are_filled_up_with_zeros() {
        assert_eq!(pad_columns(&[1.0, 2.0, 3.0, 4.0], 2, 3), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0]);
        assert_eq!(pad_columns(&[], 2, 1), [0.0, 0.0]);
    }
}
