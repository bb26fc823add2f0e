//! `--minimize`: each module's pair is replaced by the part of it that the loss needs most.
//!
//! Which part that is was measured ([`Basis`]), so that this step has no flag of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::rank::{self, Reduced};
use super::{FlagValue, Order, PlannedChanges, Purpose, SharedStep, Step, StepDetails, StepFlag, StepInput};
use crate::adapter::{Adapter, Capability, Module};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::{Basis, Pair};

static FLAG: StepFlag = StepFlag {
    name: "fitted-ranks",
    value: FlagValue::None,
    help: "Reduces each module's rank to what the samples need",
    purpose: Purpose::Size,
    parse: |_| Err("the ranks are found by `--minimize`".into()),
};

/// The rank of each module that is kept, by name, and the directions of its rank.
#[derive(Debug)]
pub struct FitRanks {
    modules: BTreeMap<String, (Arc<Basis>, usize)>,
}

impl FitRanks {
    /// A step that leaves modules at these ranks, which are at least 1.
    pub fn step(modules: BTreeMap<String, (Arc<Basis>, usize)>) -> SharedStep {
        Arc::new(Self { modules })
    }

    fn reduce(&self, adapter: &Adapter, module: &Module) -> Result<Reduced> {
        let no_pair = || adapter.refusal(Capability::ReduceRank, format!("the pair of `{}`", module.name));
        let pair = Pair::load(adapter, module)?.ok_or_else(no_pair)?;
        let rank_before = pair.rank();
        match self.modules.get(&module.name) {
            Some((basis, rank)) if *rank < rank_before => {
                Ok(Reduced { rank_before, rank: *rank, decomposition: pair.in_basis(basis) })
            }
            // All directions together are the pair as it is, which its own decomposition has, too.
            _ => {
                let decomposition = pair.decompose().ok_or_else(|| rank::diverges(adapter, module))?;
                Ok(Reduced { rank_before, rank: rank_before, decomposition })
            }
        }
    }
}

impl Step for FitRanks {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn order(&self) -> Order {
        Order::ReduceRanks
    }

    fn check(&self, adapter: &Adapter) -> Result<()> {
        adapter.require(Capability::ReduceRank)
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.varies_ranks = true;
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        let modules: Vec<&Module> = adapter.modules().values().filter(|module| module.pair().is_some()).collect();
        let reduce = |module: &&Module| Ok((module.name.clone(), self.reduce(adapter, module)?));
        rank::write_reduced(adapter, &modules.par_iter().map(reduce).collect::<Result<_>>()?, staging)?;
        Ok(StepDetails::default())
    }

    fn caution(&self, last: &Adapter) -> Option<&'static str> {
        last.config.flag("rank_pattern").then_some(
            "the modules have different ranks now: runtimes that ignore `rank_pattern` (SGLang, LoRAX, older vLLM) would \
             scale them wrongly or refuse them; `--minimize bytes --same-rank` gives all the same rank",
        )
    }
}
