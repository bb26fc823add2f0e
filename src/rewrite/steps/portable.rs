//! `--portable`: plain LoRA with one rank and one alpha, for runtimes that read nothing else of a configuration.
//!
//! Such runtimes scale every module by alpha over the rank, with the rank of the configuration (SGLang) or that of the tensors
//! (llama.cpp, TensorRT-LLM). They agree with PEFT where all modules have one rank and one scaling, so whatever makes modules
//! differ (rsLoRA, `rank_pattern`, `alpha_pattern`, AdaLoRA's values) goes into the factors. ΔW stays the same, but for one
//! rounding to the type of the tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{FlagValue, Order, PlannedChanges, Purpose, Step, StepDetails, StepFlag, StepInput, set_rank_and_alpha};
use crate::adapter::names::Part;
use crate::adapter::targets::{MovedModule, TargetModules};
use crate::adapter::{Adapter, AdapterTensor, Capability, Method, config};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::rewrite::{fold, restrict};

pub static FLAG: StepFlag = StepFlag {
    name: "portable",
    value: FlagValue::None,
    help: "Write plain LoRA with one rank and one alpha: rsLoRA, rank and alpha patterns go into lora_B, and ΔW stays the same",
    purpose: Purpose::Runtimes,
    parse: |_| Ok(Arc::new(Portable)),
};

/// Gives all modules one rank and one alpha.
#[derive(Debug)]
struct Portable;

impl Step for Portable {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn order(&self) -> Order {
        Order::UnifyRanks
    }

    fn check(&self, adapter: &Adapter) -> Result<()> {
        Unified::new(adapter).map(drop)
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.unifies = true;
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        let unified = Unified::new(adapter)?;
        staging.json(config::FILE_NAME, &unified.config())?;
        write::copy_sidecars(&adapter.path, staging)?;
        let tensors = write::in_file_order(adapter);
        let tensors = tensors.par_iter().filter(|tensor| tensor.key.part != Part::LoraE);
        let tensors: Vec<NewTensor> = tensors.map(|tensor| unified.tensor(tensor)).collect::<Result<_>>()?;
        write::write_tensors(staging, &tensors)?;
        Ok(StepDetails { portable: Some(unified.summary()), ..StepDetails::default() })
    }
}

/// What all modules have in common, and what that took.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PortableSummary {
    pub rank: usize,
    pub alpha: i64,
    /// Modules whose tensors were multiplied with what their scaling was before, or with AdaLoRA's values.
    pub folded_modules: usize,
    /// Modules whose rank was filled up with zeros.
    pub padded_modules: usize,
}

/// `portable: rank 8 and alpha 16 for all; 12 modules multiplied, 30 modules filled up with zeros to this rank`
impl fmt::Display for PortableSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, alpha, folded_modules, padded_modules } = self;
        write!(f, "portable: rank {rank} and alpha {alpha} for all")?;
        match (folded_modules, padded_modules) {
            (0, 0) => f.write_str("; no tensor changed"),
            (folded, 0) => write!(f, "; {folded} modules multiplied"),
            (folded, padded) => {
                write!(f, "; {folded} modules multiplied, {padded} modules filled up with zeros to this rank")
            }
        }
    }
}

/// The rank and alpha of an adapter that has one of each, and what that changes in its modules.
struct Unified<'a> {
    adapter: &'a Adapter,
    /// The largest rank of any module.
    rank: usize,
    /// A whole number: some runtimes read no others.
    alpha: i64,
    modules: BTreeMap<&'a str, UnifiedModule>,
    has_values: bool,
}

struct UnifiedModule {
    /// What `lora_B` is multiplied with.
    factor: f64,
    /// The rank of the tensors before.
    rank: usize,
}

impl<'a> Unified<'a> {
    /// Reads no more than headers; refuses what plain LoRA cannot express.
    fn new(adapter: &'a Adapter) -> Result<Self> {
        adapter.require(Capability::Portable)?;
        let mut scalings = BTreeMap::new();
        for module in adapter.modules().values() {
            let Some((a, b)) = module.pair() else { continue };
            let (shape_a, shape_b) = (&adapter.weights.entry(a)?.shape, &adapter.weights.entry(b)?.shape);
            let rank = match &module.parameter {
                Some(parameter) => adapter.config.rank_of(parameter),
                None => shape_a.first().copied().unwrap_or(0),
            };
            let has_rank = module.parameter.is_some() || shape_b.get(1) == Some(&rank);
            if shape_a.len() < 2 || shape_b.len() < 2 || !has_rank {
                return Err(adapter.refusal(Capability::Portable, format!("the pair of `{}`", module.name)).into());
            }
            scalings.insert(module.name.as_str(), (module.scaling(&adapter.config), rank));
        }
        let rank = scalings.values().map(|(_, rank)| *rank).max().unwrap_or(1).max(1);
        let alpha = whole_alpha(fold::most_common(scalings.values().map(|(scaling, _)| scaling * rank as f64)));
        let factor = |scaling: f64| fold::factor(scaling * rank as f64, alpha as f64);
        let unified = |(name, (scaling, rank))| (name, UnifiedModule { factor: factor(scaling), rank });
        let modules = scalings.into_iter().map(unified).collect();
        let unified = Self { adapter, rank, alpha, modules, has_values: adapter.config.method == Method::AdaLora };
        match unified.obstacle_of_experts() {
            Some(feature) => Err(adapter.refusal(Capability::Portable, feature).into()),
            None => Ok(unified),
        }
    }

    fn is_padded(&self, module: &UnifiedModule) -> bool {
        module.rank != self.rank
    }

    fn summary(&self) -> PortableSummary {
        let is_folded = |module: &&UnifiedModule| module.factor != 1.0 || self.has_values;
        let (rank, alpha) = (self.rank, self.alpha);
        let folded_modules = self.modules.values().filter(is_folded).count();
        let padded_modules = self.modules.values().filter(|module| self.is_padded(module)).count();
        PortableSummary { rank, alpha, folded_modules, padded_modules }
    }

    /// The experts of a layer are folded into the rank of one pair, whose rows cannot be padded. PEFT builds such pairs from single
    /// experts too, with one scaling for all.
    fn obstacle_of_experts(&self) -> Option<String> {
        let is_parameter = |name: &str| self.adapter.modules()[name].parameter.is_some();
        let mut modules = self.modules.iter();
        if let Some((name, _)) = modules.find(|(name, module)| is_parameter(name) && self.is_padded(module)) {
            return Some(format!("LoRA on parameters with a rank of its own (`{name}`)"));
        }
        let name = self.modules.keys().find(|name| MovedModule::parse(name).is_some())?;
        let summary = self.summary();
        let what = if summary.folded_modules > 0 || summary.padded_modules > 0 {
            "with scalings that differ"
        } else if matches!(self.adapter.config.targets.modules, TargetModules::Pattern(_)) {
            "that a pattern selects"
        } else {
            return None;
        };
        Some(format!("LoRA on single experts or routers (`{name}`) {what}"))
    }

    fn config(&self) -> Map<String, Value> {
        let config = &self.adapter.config;
        let mut raw = config.raw.clone();
        if config.method == Method::AdaLora {
            raw.retain(|key, _| !ADALORA_KEYS.contains(&key.as_str()));
            raw.insert("peft_type".into(), json!(Method::Lora.peft_type()));
        }
        set_rank_and_alpha(&mut raw, self.rank, self.alpha);
        let modules = self.adapter.modules();
        // Parameters that stand for single experts have a rank and an alpha of their own.
        let has_own_patterns =
            config.flag("target_parameters") && modules.keys().any(|module| MovedModule::parse(module).is_some());
        if !matches!(config.targets.modules, TargetModules::List(_)) || has_own_patterns {
            let all = modules.keys().map(String::as_str).collect();
            restrict::restrict(&mut raw, &all, &all, config.method);
        }
        raw
    }

    /// A tensor under PEFT's own name, with the factor and the rank of its module.
    fn tensor(&self, tensor: &AdapterTensor<'a>) -> Result<NewTensor<'a>> {
        let mut new = NewTensor::unchanged(self.adapter, tensor)?;
        new.name = tensor.key.plain_name(tensor.name);
        let Some(module) = self.modules.get(tensor.key.module.as_str()) else { return Ok(new) };
        let (part, is_padded) = (tensor.key.part, self.is_padded(module));
        let load = || self.adapter.weights.load_finite(tensor.name);
        let values = if part.is_first_factor() && (self.has_values || is_padded) {
            let mut rows = load()?;
            let columns = new.shape[1..].iter().product::<usize>();
            for (row, value) in rows.chunks_mut(columns.max(1)).zip(self.singular_values(tensor)?) {
                row.iter_mut().for_each(|x| *x *= value);
            }
            if is_padded {
                new.shape[0] = self.rank;
                rows.resize(self.rank * columns, 0.0);
            }
            rows
        } else if (part.is_second_factor() || part == Part::LoraBias) && (module.factor != 1.0 || is_padded) {
            let mut values = load()?;
            fold::fold(&mut values, module.factor);
            if is_padded && part != Part::LoraBias {
                new.shape[1] = self.rank;
                values = pad_columns(&values, new.shape[0], new.shape[1..].iter().product());
            }
            values
        } else {
            return Ok(new);
        };
        new.dtype = write::computed_dtype(new.dtype);
        new.bytes = write::encode(self.adapter, tensor.name, &values, new.dtype)?.into();
        Ok(new)
    }

    /// AdaLoRA's values, one for each row of `lora_a`; none for other methods.
    fn singular_values(&self, lora_a: &AdapterTensor) -> Result<Vec<f32>> {
        match self.has_values {
            true => self.adapter.weights.load_finite(&lora_a.name.replace(".lora_A", ".lora_E")),
            false => Ok(Vec::new()),
        }
    }
}

/// A whole number near the alpha that most modules need.
fn whole_alpha(alpha: f64) -> i64 {
    let whole = alpha.round() as i64;
    if whole == 0 { 1 } else { whole }
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
    fn alpha_is_a_whole_number_other_than_0() {
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
