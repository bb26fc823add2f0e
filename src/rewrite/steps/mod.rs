//! What is done with an adapter after its layers are cut: steps that read one adapter folder and write the next.
//!
//! A step knows nothing of the one before or behind it, so that what it costs can be measured on what it wrote.

pub mod change;
mod dtype;
mod pad;
pub mod pair;
pub mod portable;
mod rank;
mod rule;

use serde_json::{Map, Value, json};

use crate::adapter::Adapter;
use crate::error::Result;
use crate::files::Staging;
pub use dtype::FloatType;
pub use dtype::encode_tensor;
pub use pair::{Decomposition, Pair};
pub use rule::{RankRule, RankRules};

/// A step, with what the user wants of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Rank(RankRules),
    /// Zeros for the layers that were dropped, and for others up to this number of layers.
    PadZeros(Option<usize>),
    /// One rank and one alpha.
    Portable,
    Dtype(FloatType),
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Step::Rank(_) => "rank",
            Step::PadZeros(_) => "pad-zeros",
            Step::Portable => "portable",
            Step::Dtype(_) => "dtype",
        }
    }

    /// What is wanted, as the flag of the step's name takes it.
    pub fn setting(&self) -> Option<String> {
        match self {
            Step::Rank(rules) => Some(rules.to_string()),
            Step::PadZeros(layers) => layers.map(|layers| layers.to_string()),
            Step::Portable => None,
            Step::Dtype(dtype) => Some(dtype.to_string()),
        }
    }

    /// Whether the step can be taken, as far as can be told before the cut: a long run should not find out at its end.
    pub fn check(&self, adapter: &Adapter) -> Result<()> {
        match self {
            Step::Rank(_) => rank::check(adapter),
            Step::PadZeros(_) => pad::check(adapter),
            Step::Portable => portable::plan(adapter).map(drop),
            Step::Dtype(_) => Ok(()),
        }
    }

    /// Writes what the step makes of `adapter`, a cut of `original`, as a whole folder.
    pub fn write(&self, adapter: &Adapter, original: &Adapter, staging: &Staging) -> Result<()> {
        match self {
            Step::Rank(rules) => rank::write(adapter, rules, staging),
            Step::PadZeros(layers) => pad::write(adapter, original, *layers, staging),
            Step::Portable => portable::write(adapter, staging),
            Step::Dtype(dtype) => dtype::write(adapter, *dtype, staging),
        }
    }
}

/// Gives all modules of a configuration one rank and one alpha.
fn set_rank_and_alpha(raw: &mut Map<String, Value>, rank: usize, alpha: i64) {
    raw.insert("r".into(), json!(rank));
    raw.insert("lora_alpha".into(), json!(alpha));
    for (key, value) in [("use_rslora", json!(false)), ("alpha_pattern", json!({})), ("rank_pattern", json!({}))] {
        raw.get_mut(key).into_iter().for_each(|old| *old = value.clone());
    }
    // What an initialisation by name wants of the rank or of other keys no longer holds.
    raw.get_mut("init_lora_weights").filter(|init| init.is_string()).into_iter().for_each(|init| *init = json!(true));
}
