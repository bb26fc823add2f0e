//! What an adapter is made of, from its headers and its low-rank factors alone.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::examine::{KnownBase, examine};
use super::flaws::Flaw;
use super::runtimes::LoadOutcome;
use super::runtimes::base_facts::BaseFacts;
use super::runtimes::facts::{AdapterFact, AdapterFacts};
use super::runtimes::list::PEFT;
use crate::adapter::targets::module_types;
use crate::adapter::{Adapter, Capability};
use crate::error::Result;
use crate::format::{bytes, shell_word, upper_layers};
use crate::rewrite::dead_weight::{BaseWeights, DeadWeight, DeadWeightSummary};
use crate::rewrite::exact_types::{ExactTypes, StoredValues, narrower};
use crate::rewrite::steps::PlannedChanges;

/// The parts of an adapter.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Inspection {
    pub path: String,
    pub method: &'static str,
    pub base_model: Option<String>,
    pub rank: Option<usize>,
    pub alpha: Option<f64>,
    pub rslora: bool,
    /// Module types and how many modules there are of each.
    pub modules: BTreeMap<String, usize>,
    pub dtypes: BTreeSet<String>,
    pub stack: String,
    pub tensors: usize,
    pub bytes: u64,
    pub layers: Vec<LayerInspection>,
    /// The other stacks of layers that it adapts: a model with an encoder and a decoder has one of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_stacks: Vec<StackInspection>,
    /// Bytes of tensors outside the layers, which are kept at every boundary.
    pub other_bytes: u64,
    pub dead_weight: InspectedDeadWeight,
    /// What limits how far this adapter can be slimmed.
    pub limits: Vec<String>,
    /// Why PEFT does not load it as it was trained; empty if it does, as far as the adapter alone tells.
    pub wrong: Vec<String>,
    /// What else its files hold that is not used, or not as it is written.
    pub remarks: Vec<String>,
}

/// What could be left out without a change of what the adapter does.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InspectedDeadWeight {
    /// What the adapter would be smaller by.
    pub bytes: u64,
    #[serde(flatten)]
    pub summary: DeadWeightSummary,
    /// Tensors with wider types than their values need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_types: Option<ExactTypes>,
    /// What takes it out, if there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// A stack of layers that a cut keeps as it is, unless `--stack` names it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StackInspection {
    pub stack: String,
    /// Module types and how many modules there are of each.
    pub modules: BTreeMap<String, usize>,
    pub bytes: u64,
    pub layers: Vec<LayerInspection>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LayerInspection {
    pub layer: usize,
    pub bytes: u64,
    /// ‖scaling · B·A‖ over all modules of the layer; absent where it has no plain pairs.
    pub norm: Option<f64>,
}

/// What the user calls an adapter and its base model, if they name one.
#[derive(Debug, Clone, Copy)]
pub struct InspectedNames<'a> {
    pub adapter: &'a str,
    pub base: Option<&'a str>,
}

/// Inspects an adapter beside its base model, as far as that is known.
pub fn inspect(names: InspectedNames, adapter: &Adapter, base: BaseWeights) -> Result<Inspection> {
    let config = &adapter.config;
    let examined = examine(adapter, &KnownBase::default(), &[&PEFT])?;
    let reasons = examined.runtimes.into_iter().flat_map(|verdict| verdict.reasons);
    let remark = |flaw: Flaw| if let Flaw::Remark(remark) = flaw { Some(remark) } else { None };
    let types = module_types(adapter.modules().keys().map(String::as_str));
    Ok(Inspection {
        path: names.adapter.into(),
        method: if config.flag("use_dora") { "DoRA" } else { config.method.name() },
        base_model: config.text("base_model_name_or_path").map(String::from),
        rank: config.rank,
        alpha: config.alpha,
        rslora: config.is_rank_stabilised(),
        modules: types.into_iter().map(|(name, count)| (name.into(), count)).collect(),
        dtypes: adapter.tensors().map(|tensor| tensor.entry.encoding()).collect(),
        stack: adapter.stack.clone(),
        tensors: adapter.tensors().count(),
        bytes: adapter.bytes_below(usize::MAX),
        layers: layers(adapter)?,
        other_stacks: adapter
            .other_stacks()
            .into_iter()
            .map(|stack| other_stack(adapter, stack))
            .collect::<Result<_>>()?,
        other_bytes: adapter.bytes_below(0),
        dead_weight: dead_weight(names, adapter, base)?,
        limits: limits(adapter),
        wrong: reasons.filter(|reason| reason.outcome != LoadOutcome::Loads).map(|reason| reason.what).collect(),
        remarks: examined.flaws.into_iter().filter_map(remark).collect(),
    })
}

fn layers(adapter: &Adapter) -> Result<Vec<LayerInspection>> {
    let norms = adapter.layer_norms()?;
    let layer = |(layer, bytes)| LayerInspection { layer, bytes, norm: norms.get(&layer).copied() };
    Ok(adapter.layer_bytes().into_iter().map(layer).collect())
}

fn other_stack(adapter: &Adapter, stack: &str) -> Result<StackInspection> {
    let there = Adapter::open(&adapter.path, Some(stack))?;
    let modules = there.modules().values().filter(|module| module.layer.is_some());
    let types = module_types(modules.map(|module| module.name.as_str()));
    Ok(StackInspection {
        stack: stack.into(),
        modules: types.into_iter().map(|(name, count)| (name.into(), count)).collect(),
        bytes: there.layer_bytes().values().sum(),
        layers: layers(&there)?,
    })
}

fn dead_weight(names: InspectedNames, adapter: &Adapter, base: BaseWeights) -> Result<InspectedDeadWeight> {
    let dead = DeadWeight::find(adapter, base)?;
    let left = adapter.tensors().filter(|tensor| !dead.drops(tensor.name) || dead.rows_of(tensor.name).is_some());
    let left = left.map(|tensor| StoredValues::new(adapter, &tensor, dead.rows_of(tensor.name)));
    let left = left.collect::<Result<Vec<_>>>()?;
    let exact_types = ExactTypes::of(&left, &narrower(&left));
    let summary = dead.summary();
    let bytes = summary.bytes() + exact_types.as_ref().map_or(0, |types| types.bytes);
    let base = names.base.map_or(String::new(), |base| format!(" --base {}", shell_word(base)));
    let command = (bytes > 0 && adapter.obstacle(Capability::Cut).is_none())
        .then(|| format!("lora-slim cut {}{base} --boundary all --dead-weight -o OUT", shell_word(names.adapter)));
    Ok(InspectedDeadWeight { bytes, summary, exact_types, command })
}

fn limits(adapter: &Adapter) -> Vec<String> {
    let (mut limits, method) = (adapter.config.features(), adapter.config.method);
    if !Capability::Evaluate.includes(method) {
        limits.push(format!("`slim` and `scan` cannot evaluate {}; `cut` works", method.name()));
    }
    let facts = AdapterFacts::new(adapter, &BaseFacts::default(), PlannedChanges::default(), Vec::new());
    if facts.evidence(AdapterFact::EmbeddingLora).is_some() {
        limits.push("LoRA on embeddings".into());
    }
    limits.extend(upper_layers(&adapter.layers().into_iter().collect::<Vec<_>>()));
    if adapter.is_of_encoder_and_decoder() {
        limits.push(
            "`slim` and `scan` evaluate decoders alone, and the base model has an encoder, too; `cut` works".into(),
        );
    }
    let (all, other) = (adapter.bytes_below(usize::MAX), adapter.bytes_below(0));
    if let Some((side, stack)) = adapter.other_side() {
        limits.push(format!("a cut drops layers of `{}`, and with `--stack {side}` of `{stack}`", adapter.stack));
    } else if other * 10 > all {
        let share = 100.0 * other as f64 / all as f64;
        limits.push(format!(
            "{} ({share:.0} %) lie outside the layers: whatever the boundary, a cut keeps them",
            bytes(other)
        ));
    }
    limits
}
