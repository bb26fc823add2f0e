//! Steps after the cut: each reads one adapter folder and writes the next.
//!
//! A step does not know the steps before and after it, so that its cost can be measured on what it wrote. To add one, write its
//! file, with a [`Step`] and a [`StepFlag`], and add the flag to [`STEPS`]: the command line, config files and reports follow.

mod blocks;
mod dead_weight;
mod dtype;
mod exact_types;
pub mod fit_ranks;
mod pad_zeros;
mod portable;
mod rank;
mod rank_rules;

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::adapter::Adapter;
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::dead_weight::{BaseWeights, DeadWeightSummary};
use crate::rewrite::exact_types::ExactTypes;
pub use blocks::BlockTypes;
pub use pad_zeros::Zeros;
pub use portable::{ADALORA_KEYS, PortableSummary};

/// Every step, in the order in which help lists them.
pub static STEPS: [&StepFlag; 5] = [&dead_weight::FLAG, &rank::FLAG, &dtype::FLAG, &portable::FLAG, &pad_zeros::FLAG];

/// A change of a whole adapter, with its setting.
pub trait Step: fmt::Debug + Send + Sync {
    fn flag(&self) -> &'static StepFlag;

    /// The value of its flag; `None` without one.
    fn setting(&self) -> Option<String> {
        None
    }

    fn order(&self) -> Order;

    /// Refuses an adapter, as far as can be told before the cut: a long run should not fail at its end.
    fn check(&self, adapter: &Adapter) -> Result<()>;

    /// Whether the step reads weights of the base model, for this adapter.
    fn needs_base(&self, _adapter: &Adapter) -> bool {
        false
    }

    /// Adds what is known of the result before the run.
    fn plan(&self, _planned: &mut PlannedChanges) {}

    /// Writes the changed adapter as a whole folder. Returns what the report says of the step beyond sizes, ranks and the change of
    /// ΔW.
    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails>;

    /// What not every reader can deal with when `last` is the adapter after all steps.
    fn caution(&self, _last: &Adapter) -> Option<&'static str> {
        None
    }
}

/// What a step reads.
#[derive(Debug, Clone, Copy)]
pub struct StepInput<'a> {
    /// The adapter to change, after the cut and the steps before.
    pub adapter: &'a Adapter,
    /// The adapter before the cut.
    pub original: &'a Adapter,
    pub base: BaseWeights<'a>,
}

/// A step that requests, command lines and reports share.
pub type SharedStep = Arc<dyn Step>;

/// When steps run, whatever the order of their flags: wider types first and narrower ones last, so that as little as possible is
/// rounded; zeros before the modules get one rank. What is dead counts for none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    DropDeadWeight,
    WidenTypes,
    ReduceRanks,
    AddModules,
    UnifyRanks,
    NarrowTypes,
}

/// The steps in the order in which they run. Types that are wider than their values are dead weight, too, but those that steps
/// compute with: unless another type is asked for, they are narrowed at the end.
pub fn in_order(mut steps: Vec<SharedStep>) -> Vec<SharedStep> {
    let has = |steps: &[SharedStep], flag: &StepFlag| steps.iter().any(|step| step.flag().name == flag.name);
    steps.retain(|step| step.flag().name != exact_types::FLAG.name);
    if has(&steps, &dead_weight::FLAG) && !has(&steps, &dtype::FLAG) {
        steps.push(exact_types::step());
    }
    steps.sort_by_key(|step| step.order());
    steps
}

/// The step of `--dtype bf16`.
pub fn to_bf16() -> SharedStep {
    dtype::to_bf16()
}

/// The flag of a step.
#[derive(Debug)]
pub struct StepFlag {
    /// Without dashes; reports call the step so too.
    pub name: &'static str,
    pub value: FlagValue,
    pub help: &'static str,
    pub purpose: Purpose,
    /// Reads the value, or the flag alone.
    pub parse: fn(Option<&str>) -> std::result::Result<SharedStep, String>,
}

/// The value of a flag, with its name in help texts.
#[derive(Debug)]
pub enum FlagValue {
    None,
    Required(&'static str),
    Optional(&'static str),
    /// One of these, each with its help.
    OneOf(&'static str, &'static [(&'static str, Option<&'static str>)]),
}

/// What a step is for: `scan` has only the flags that make an adapter smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Size,
    Runtimes,
}

/// What will be done with an adapter, as far as it is known before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlannedChanges {
    /// Layers will be dropped; which ones is unknown.
    pub drops_layers: bool,
    /// Dropped layers will have pairs of zeros.
    pub pads_layers: bool,
    /// All modules will have one rank and one alpha.
    pub unifies: bool,
    /// Each module will have a rank of its own.
    pub varies_ranks: bool,
    /// Ranks above this one will be reduced to it.
    pub most_rank: Option<usize>,
    /// Factors will be rounded to blocks of 8 bits, which only a GGUF file has.
    pub rounds_to_blocks: bool,
    /// Weights will be dropped that change nothing; which ones is unknown.
    pub drops_dead_weight: bool,
}

impl PlannedChanges {
    pub fn by(steps: &[SharedStep]) -> Self {
        let mut planned = Self::default();
        steps.iter().for_each(|step| step.plan(&mut planned));
        planned
    }
}

/// What reports say of single steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StepDetails {
    /// What `dead-weight` took out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_weight: Option<DeadWeightSummary>,
    /// What `exact-types` narrowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_types: Option<ExactTypes>,
    /// What the GGUF file holds in blocks of 8 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<BlockTypes>,
    /// What `portable` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portable: Option<PortableSummary>,
    /// What `pad-zeros` added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<Zeros>,
}

/// One line for each.
impl fmt::Display for StepDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dead_weight.iter().try_for_each(|summary| write!(f, "{summary}"))?;
        self.exact_types.iter().try_for_each(|types| writeln!(f, "dead weight: {types}"))?;
        self.blocks.iter().try_for_each(|types| writeln!(f, "{types}"))?;
        self.portable.iter().try_for_each(|summary| writeln!(f, "{summary}"))?;
        self.zeros.iter().try_for_each(|zeros| writeln!(f, "{zeros}"))
    }
}

/// Gives all modules of a configuration one rank and one alpha.
fn set_rank_and_alpha(raw: &mut Map<String, Value>, rank: usize, alpha: i64) {
    raw.insert("r".into(), json!(rank));
    raw.insert("lora_alpha".into(), json!(alpha));
    for (key, value) in [("use_rslora", json!(false)), ("alpha_pattern", json!({})), ("rank_pattern", json!({}))] {
        raw.get_mut(key).into_iter().for_each(|old| *old = value.clone());
    }
    // An initialisation by name may depend on the rank or on other keys.
    raw.get_mut("init_lora_weights").filter(|init| init.is_string()).into_iter().for_each(|init| *init = json!(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_in_their_order_whatever_the_flags() {
        let run = |flags: &[(&str, Option<&str>)]| -> Vec<String> {
            let parse = |(name, value): &(&str, Option<&str>)| {
                let flag = STEPS.iter().find(|flag| flag.name == *name).unwrap();
                (flag.parse)(*value).unwrap()
            };
            let steps = in_order(flags.iter().map(parse).collect());
            steps.iter().map(|step| [step.flag().name, &step.setting().unwrap_or_default()].join(" ")).collect()
        };
        let flags = [("dtype", Some("f32")), ("portable", None), ("pad-zeros", Some("4")), ("rank", Some("8"))];
        assert_eq!(run(&flags), ["dtype f32", "rank 8", "pad-zeros 4", "portable "]);
        assert_eq!(run(&[("dtype", Some("bf16")), ("rank", Some("8"))]), ["rank 8", "dtype bf16"]);
        assert_eq!(run(&[("rank", Some("8")), ("dead-weight", None)]), ["dead-weight ", "rank 8", "exact-types "]);
        assert_eq!(run(&[("dtype", Some("f32")), ("dead-weight", None)]), ["dead-weight ", "dtype f32"]);
    }
}
