//! Weights of an adapter that change nothing, and what is left without them.
//!
//! Trainers save more than they trained: the embedding and the head as they are in the base model, or with a few new tokens; modules
//! whose `lora_B` never left zero; the same tensor under two names. PEFT computes the same without them, to the last digit. What cannot be
//! shown to be of no effect stays.

mod likeness;
mod saved;
mod summary;

use std::collections::{BTreeMap, BTreeSet};

use crate::account::Account;
use crate::adapter::names::Part;
use crate::adapter::targets::Targets;
use crate::adapter::{Adapter, AdapterTensor, Module};
use crate::error::Result;
use crate::model::Model;
use crate::rewrite::Cut;
pub use likeness::{ComparedWeight, Likeness};
pub use summary::{DeadKind, DeadPart, DeadWeightSummary};

/// The base model to compare with.
#[derive(Debug, Clone, Copy)]
pub enum BaseWeights<'a> {
    Known(&'a Model),
    /// The reason why there is none, as the end of a sentence.
    Unknown(&'a str),
}

/// What can be taken out of an adapter.
#[derive(Debug)]
pub struct DeadWeight<'a> {
    adapter: &'a Adapter,
    /// The tensors that go, with the reason.
    dropped: BTreeMap<&'a str, DeadKind>,
    /// The embeddings and heads of which only the rows of some tokens stay.
    rows: BTreeMap<&'a str, Vec<usize>>,
    /// Why whole weights were not compared with the base model's, if there are any that were not.
    not_compared: Option<String>,
}

impl<'a> DeadWeight<'a> {
    /// Finds what changes nothing. Reads the factors, and of whole weights both the adapter's and the base model's.
    pub fn find(adapter: &'a Adapter, base: BaseWeights) -> Result<Self> {
        let mut dead = Self { adapter, dropped: BTreeMap::new(), rows: BTreeMap::new(), not_compared: None };
        dead.find_saved(base)?;
        dead.find_zeros()?;
        if Cut::without(adapter, dead.modules()).is_err() {
            // PEFT's configuration cannot select what would be left.
            (dead.dropped, dead.rows) = Default::default();
        }
        Ok(dead)
    }

    /// Whether an adapter has weights that only a base model can show to be dead.
    pub fn needs_base(adapter: &Adapter) -> bool {
        Self::whole(adapter).next().is_some()
    }

    /// The tensors that have the place of a weight of the base model.
    pub fn whole(adapter: &Adapter) -> impl Iterator<Item = AdapterTensor<'_>> {
        adapter.tensors().filter(is_whole)
    }

    /// Finds pairs whose product is zero. One in the layers stays where there would be none: without any, it would be no adapter.
    fn find_zeros(&mut self) -> Result<()> {
        let adapter = self.adapter;
        let is_kept = |tensor: &AdapterTensor| !self.dropped.contains_key(tensor.name) && !tensor.key.is_wrapped();
        // A weight that stays may have a name that PEFT finds only beside the pair.
        let needed: BTreeSet<&str> =
            adapter.tensors().filter(is_kept).map(|tensor| tensor.key.module.as_str()).collect();
        let mut zeros: Vec<_> = adapter.zero_modules()?;
        zeros.retain(|module| !needed.contains(module.name.as_str()));
        if let Some(smallest) = self.needed_in_layers(&zeros) {
            zeros.retain(|module| module.name != smallest);
        }
        let zeros: BTreeSet<&str> = zeros.into_iter().map(|module| module.name.as_str()).collect();
        if zeros.is_empty() || !self.can_leave_out(&zeros) {
            return Ok(());
        }
        for tensor in adapter.tensors().filter(|tensor| zeros.contains(tensor.key.module.as_str())) {
            self.dropped.entry(tensor.name).or_insert(DeadKind::ZeroChange);
        }
        Ok(())
    }

    /// The smallest of these modules that is in the layers, where they are all that is there.
    fn needed_in_layers(&self, modules: &[&'a Module]) -> Option<&'a str> {
        let names: BTreeSet<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        let mut in_layers = self.adapter.modules().values().filter(|module| module.layer.is_some());
        let bytes = |module: &Module| -> u64 {
            let tensors = self.adapter.tensors().filter(|tensor| tensor.key.module == module.name);
            tensors.map(|tensor| tensor.entry.bytes()).sum()
        };
        if !in_layers.all(|module| names.contains(module.name.as_str())) {
            return None;
        }
        let smallest = modules.iter().filter(|module| module.layer.is_some()).min_by_key(|module| bytes(module));
        smallest.map(|module| module.name.as_str())
    }

    /// Whether a configuration can select the modules of an adapter without these.
    fn can_leave_out(&self, modules: &BTreeSet<&'a str>) -> bool {
        let Ok(cut) = Cut::without(self.adapter, modules.clone()) else { return false };
        let raw = cut.config();
        let targets = Targets::from_config(&Account::of(&raw));
        targets.is_ok_and(|targets| modules.iter().all(|module| targets.matches(module) == Some(false)))
    }

    /// Whether there is nothing to take out.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty()
    }

    /// Leaves in the adapter what `goes` does not name.
    pub fn retain(&mut self, goes: impl Fn(&str) -> bool) {
        self.dropped.retain(|name, _| goes(name));
        self.rows.retain(|name, _| goes(name));
    }

    pub fn drops(&self, tensor: &str) -> bool {
        self.dropped.contains_key(tensor)
    }

    /// The tokens whose rows stay of a tensor that goes.
    pub fn rows_of(&self, tensor: &str) -> Option<&[usize]> {
        self.rows.get(tensor).map(Vec::as_slice)
    }

    /// The modules, and the tokens whose rows stay of them.
    pub fn trained_tokens(&self) -> BTreeMap<&str, &[usize]> {
        let tensors = self.adapter.tensors();
        tensors.filter_map(|tensor| Some((tensor.key.module.as_str(), self.rows_of(tensor.name)?))).collect()
    }

    /// The modules of which no tensor stays as it is.
    pub fn modules(&self) -> BTreeSet<&'a str> {
        let (dropped, kept): (Vec<_>, Vec<_>) =
            self.adapter.tensors().partition(|tensor| self.dropped.contains_key(tensor.name));
        let kept: BTreeSet<&str> = kept.into_iter().map(|tensor| tensor.key.module.as_str()).collect();
        let dropped = dropped.into_iter().map(|tensor| tensor.key.module.as_str());
        dropped.filter(|module| !kept.contains(module)).collect()
    }
}

/// Whether a tensor has the place of a weight of the base model.
fn is_whole(tensor: &AdapterTensor) -> bool {
    matches!(tensor.key.part, Part::Saved | Part::BaseCopy)
}
