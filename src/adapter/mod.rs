//! The adapter folder: reading it, cutting it, comparing two of them.

mod compare;
pub mod config;
mod cut;
pub mod keys;
mod norms;
pub mod targets;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{AdapterError, Result};
use crate::tensors::{Entry, TensorStore};
pub use compare::{Difference, compare};
pub use config::AdapterConfig;
pub use cut::{Cut, parse_layers};
use keys::{Key, Part};
pub use weights::{LayerLora, Lora};

/// The name under which PEFT saves the weights.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";

/// A LoRA adapter: its configuration, its tensors, and which of them belong to which decoder layer.
#[derive(Debug)]
pub struct Adapter {
    pub path: PathBuf,
    pub config: AdapterConfig,
    pub weights: TensorStore,
    /// The name of the decoder's layers inside the model, for example `model.layers`.
    pub stack: String,
}

/// One tensor of an adapter, with its name taken apart.
pub struct AdapterTensor<'a> {
    pub name: &'a str,
    pub entry: &'a Entry,
    pub key: Key,
}

impl Adapter {
    /// Opens the folder that PEFT's `save_pretrained` wrote and checks that it is whole: every `lora_A` has its
    /// `lora_B`, and their rank is the one of the configuration. `stack` names the layer stack where several are there.
    pub fn open(path: &Path, stack: Option<&str>) -> Result<Self> {
        if !path.is_dir() {
            return Err(AdapterError::NotAnAdapter { path: path.into(), missing: "folder of that name" }.into());
        }
        let config = AdapterConfig::read(path)?;
        let file = path.join(WEIGHTS_NAME);
        if !file.exists() {
            let pickle = path.join("adapter_model.bin").exists();
            return Err(if pickle {
                AdapterError::PickleOnly { path: path.into() }.into()
            } else {
                AdapterError::NotAnAdapter { path: path.into(), missing: "adapter_model.safetensors" }.into()
            });
        }
        let weights = TensorStore::open_safetensors(&file)?;
        let stack = find_stack(path, &weights, stack)?;
        let adapter = Self { path: path.into(), config, weights, stack };
        adapter.check_pairs()?;
        Ok(adapter)
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = AdapterTensor<'_>> {
        self.weights.iter().map(|(name, entry)| AdapterTensor { name, entry, key: Key::parse(name) })
    }

    /// The decoder layer that a module belongs to; `None` for modules outside the stack, which are always kept.
    pub fn layer_of(&self, module: &str) -> Option<usize> {
        keys::stack_and_layer(module).filter(|(stack, _)| *stack == self.stack).map(|(_, layer)| layer)
    }

    /// The decoder layers that the adapter has tensors for.
    pub fn layers(&self) -> BTreeSet<usize> {
        self.tensors().filter_map(|tensor| self.layer_of(&tensor.key.module)).collect()
    }

    /// One more than the highest layer with tensors: the smallest boundary that keeps everything.
    pub fn layer_count(&self) -> usize {
        self.layers().last().map_or(0, |last| last + 1)
    }

    /// The modules with a LoRA pair, by name, with the names of their tensors.
    pub fn modules(&self) -> BTreeMap<String, BTreeMap<Part, &str>> {
        let mut modules: BTreeMap<String, BTreeMap<Part, &str>> = BTreeMap::new();
        for tensor in self.tensors().filter(|tensor| tensor.key.is_lora()) {
            modules.entry(tensor.key.module).or_default().insert(tensor.key.part, tensor.name);
        }
        modules
    }

    /// The bytes of the tensors, and of those that are kept at boundary `boundary`.
    pub fn bytes_below(&self, boundary: usize) -> u64 {
        let kept = |tensor: &AdapterTensor| self.layer_of(&tensor.key.module).is_none_or(|layer| layer < boundary);
        self.tensors().filter(kept).map(|tensor| tensor.entry.bytes()).sum()
    }

    /// Adapters that the sweep cannot evaluate are refused before it starts.
    pub fn check_can_be_evaluated(&self) -> Result<()> {
        let refuse = |feature: String| {
            let cannot = "`slim` and `scan` cannot evaluate yet";
            AdapterError::Unsupported { path: self.path.clone(), feature, cannot }
        };
        if let Some(feature) = self.config.features().into_iter().next() {
            return Err(refuse(feature).into());
        }
        for tensor in self.tensors() {
            let plain = matches!(tensor.key.part, Part::LoraA | Part::LoraB);
            if !plain || self.layer_of(&tensor.key.module).is_none() {
                return Err(refuse(format!("the tensor `{}`", tensor.name)).into());
            }
        }
        Ok(())
    }

    fn check_pairs(&self) -> Result<()> {
        let path = || self.path.clone();
        let modules = self.modules();
        if modules.is_empty() {
            return Err(AdapterError::Empty { path: path() }.into());
        }
        let pairs = [
            (Part::LoraA, "lora_A", Part::LoraB, "lora_B"),
            (Part::EmbeddingA, "lora_embedding_A", Part::EmbeddingB, "lora_embedding_B"),
        ];
        for (module, parts) in &modules {
            for (part_a, name_a, part_b, name_b) in pairs {
                let (present, absent) = match (parts.get(&part_a), parts.get(&part_b)) {
                    (None, None) => continue,
                    (Some(a), Some(b)) => {
                        self.check_rank(module, a, b)?;
                        continue;
                    }
                    (Some(_), None) => (name_a, name_b),
                    (None, Some(_)) => (name_b, name_a),
                };
                return Err(AdapterError::HalfAPair { path: path(), module: module.clone(), present, absent }.into());
            }
        }
        Ok(())
    }

    /// A pair is (rank, inputs) and (outputs, rank), convolutions with further sizes behind.
    fn check_rank(&self, module: &str, a: &str, b: &str) -> Result<()> {
        // With LoRA on parameters the experts are folded into the rank.
        if self.config.flag("target_parameters") {
            return Ok(());
        }
        let expected = self.config.rank_of(module);
        let rank_a = self.weights.entry(a)?.shape.first().copied().unwrap_or(0);
        let rank_b = self.weights.entry(b)?.shape.get(1).copied().unwrap_or(0);
        match [rank_a, rank_b].into_iter().find(|&rank| rank != expected) {
            Some(actual) => {
                let (path, module) = (self.path.clone(), module.to_string());
                Err(AdapterError::Rank { path, module, expected, actual }.into())
            }
            None => Ok(()),
        }
    }
}

fn find_stack(path: &Path, weights: &TensorStore, wanted: Option<&str>) -> Result<String> {
    let modules: BTreeSet<String> = weights.iter().map(|(name, _)| Key::parse(name).module).collect();
    let stacks = keys::find_stacks(modules.iter().map(String::as_str));
    let names = || stacks.all.keys().map(|stack| format!("`{stack}`")).collect();
    match (wanted, stacks.decoder) {
        (Some(stack), _) if stacks.all.contains_key(stack) => Ok(stack.into()),
        (Some(stack), _) => {
            Err(AdapterError::UnknownStack { path: path.into(), stack: stack.into(), stacks: names() }.into())
        }
        (None, Some(stack)) => Ok(stack.into()),
        (None, None) if stacks.all.is_empty() => Err(AdapterError::NoLayers { path: path.into() }.into()),
        (None, None) => Err(AdapterError::SeveralStacks { path: path.into(), stacks: names() }.into()),
    }
}
