//! What is done with an adapter after its layers are cut: steps that read one adapter folder and write the next.
//!
//! A step knows nothing of the one before or behind it, so that what it costs can be measured on what it wrote.

pub mod change;
mod dtype;
mod pair;
mod rank;
mod rule;

use std::fmt;

use super::Adapter;
use crate::error::Result;
use crate::files::Staging;
pub use dtype::FloatType;
pub use pair::{Decomposition, Pair};
pub use rule::{RankRule, RankRules};

/// A step, with what the user wants of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Rank(RankRules),
    Dtype(FloatType),
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Step::Rank(_) => "rank",
            Step::Dtype(_) => "dtype",
        }
    }

    /// Whether the step can be taken, as far as can be told before the cut: a long run should not find out at its end.
    pub fn check(&self, adapter: &Adapter) -> Result<()> {
        match self {
            Step::Rank(_) => rank::check(adapter),
            Step::Dtype(_) => Ok(()),
        }
    }

    /// Writes what the step makes of `adapter` as a whole folder.
    pub fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()> {
        match self {
            Step::Rank(rules) => rank::write(adapter, rules, staging),
            Step::Dtype(dtype) => dtype::write(adapter, *dtype, staging),
        }
    }
}

/// What is wanted, as the flag of the step's name takes it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Rank(rules) => rules.fmt(f),
            Step::Dtype(dtype) => dtype.fmt(f),
        }
    }
}
