//! A finished adapter as PEFT saves it: its configuration, its tensors by module and layer, and what it adds to the weights of
//! the base model. Nothing here writes; [`rewrite`](crate::rewrite) does.

mod capability;
pub mod config;
mod defaults;
mod delta;
mod effect;
pub mod file_notes;
pub mod foreign;
mod keys;
mod layer;
mod method;
mod module;
pub mod names;
mod norms;
mod open;
mod patterns;
mod stacks;
mod strays;
pub mod targets;
mod training_state;
mod weights;
mod wrapped_config;
pub mod wrappers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::tensors::{Entry, TensorStore};
pub use capability::Capability;
pub use config::AdapterConfig;
pub use defaults::DefaultTargets;
pub use delta::{Delta, ExpertStack};
pub use effect::NoEffect;
pub use file_notes::OWN_PREFIX;
pub use layer::LayerAdapter;
pub use method::Method;
pub use module::Module;
use names::{Key, Part};
pub use patterns::ModulePatterns;
pub use stacks::{Side, has_encoder_and_decoder};
pub use strays::is_vocabulary;
pub use weights::weight_files;
pub use wrapped_config::WrappedName;

/// The name under which PEFT saves the weights.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";

/// An adapter: its configuration, its tensors, and which of them belong to which decoder layer.
#[derive(Debug)]
pub struct Adapter {
    pub path: PathBuf,
    pub config: AdapterConfig,
    pub weights: TensorStore,
    /// The name of the decoder's layers inside the model, for example `model.layers`.
    pub stack: String,
    /// What its files hold that is not used, or not as it is written, one sentence each.
    pub remarks: Vec<String>,
    /// The tensors of its file that PEFT does not load, which are left out of `weights`.
    pub ignored: Vec<String>,
    /// Why it changes nothing, if it does not; among the remarks, too.
    pub no_effect: Option<NoEffect>,
    /// The names of the tensors, taken apart, in the order of `weights`, and their decoder layers.
    keys: Vec<Key>,
    layers: Vec<Option<usize>>,
    modules: BTreeMap<String, Module>,
    /// The modules with tensors whose names PEFT does not read, and whether they lack the prefix alone.
    unclean: BTreeMap<String, bool>,
    /// The bytes of each layer's tensors, and of those outside the layers.
    layer_bytes: BTreeMap<Option<usize>, u64>,
}

/// One tensor of an adapter, with its name taken apart.
pub struct AdapterTensor<'a> {
    pub name: &'a str,
    pub entry: &'a Entry,
    pub key: &'a Key,
    /// Its decoder layer; `None` outside the stack.
    pub layer: Option<usize>,
}

impl Adapter {
    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = AdapterTensor<'_>> {
        let keys = self.keys.iter().zip(&self.layers);
        self.weights.iter().zip(keys).map(|((name, entry), (key, &layer))| AdapterTensor { name, entry, key, layer })
    }

    /// The modules that the adapter wraps, by name.
    pub fn modules(&self) -> &BTreeMap<String, Module> {
        &self.modules
    }

    /// Whether PEFT reads the names of all tensors of a module, given by its name.
    pub fn is_clean(&self, module: &str) -> bool {
        !self.unclean.contains_key(module)
    }

    /// Whether `base_model.model.` is missing in the names of a module's tensors, and nothing else is wrong with them.
    pub fn lacks_prefix_alone(&self, module: &str) -> bool {
        self.unclean.get(module).copied().unwrap_or_default()
    }

    /// The decoder layer that a module belongs to; `None` for modules outside the stack, which are always kept.
    pub fn layer_of(&self, module: &str) -> Option<usize> {
        names::stack_and_layer(module).filter(|(stack, _)| *stack == self.stack).map(|(_, layer)| layer)
    }

    /// The name inside layer `layer` of a module there: `self_attn.q_proj`.
    pub fn inside_layer<'a>(&self, module: &'a str, layer: usize) -> &'a str {
        let inside = || module.strip_prefix(&self.stack)?.strip_prefix('.')?.strip_prefix(&layer.to_string());
        inside().and_then(|inside| inside.strip_prefix('.')).unwrap_or_default()
    }

    /// The decoder layers that the adapter has tensors for.
    pub fn layers(&self) -> BTreeSet<usize> {
        self.layer_bytes.keys().copied().flatten().collect()
    }

    /// One more than the highest layer with tensors: the smallest boundary that keeps everything.
    pub fn layer_count(&self) -> usize {
        self.layer_bytes.keys().next_back().copied().flatten().map_or(0, |last| last + 1)
    }

    /// The bytes of the tensors that are kept at boundary `boundary`.
    pub fn bytes_below(&self, boundary: usize) -> u64 {
        self.layer_bytes.range(..Some(boundary)).map(|(_, bytes)| bytes).sum()
    }

    /// The bytes of each layer's tensors.
    pub fn layer_bytes(&self) -> BTreeMap<usize, u64> {
        self.layer_bytes.iter().filter_map(|(layer, bytes)| Some(((*layer)?, *bytes))).collect()
    }

    /// The modules that `modules_to_save` replaces, as the tensors have them.
    pub fn saved_modules(&self) -> BTreeSet<String> {
        let saved = self.tensors().filter(|tensor| tensor.key.part == Part::Saved);
        // A saved module may hold others.
        saved.filter_map(|tensor| self.config.saved_ancestor(&tensor.key.module).map(String::from)).collect()
    }

    /// The sizes of a wrapped module as its factors have them, (inputs, outputs), where they tell.
    pub fn module_shape(&self, module: &Module) -> Option<(usize, usize)> {
        let size = |part: Part, dim: usize| self.weights.get(module.tensor(part)?)?.shape.get(dim).copied();
        let factor = |name: &'static str, dim: usize| size(Part::Factor(name), dim);
        let w1 = |dim| factor("lokr_w1", dim).or(factor(["lokr_w1_a", "lokr_w1_b"][dim], dim));
        let w2 = |dim| factor("lokr_w2", dim).or(factor(["lokr_w2_a", "lokr_w2_b"][dim], dim));
        match self.config.method {
            Method::LoHa => Some((factor("hada_w1_b", 1)?, factor("hada_w1_a", 0)?)),
            Method::LoKr => Some((w1(1)? * w2(1)?, w1(0)? * w2(0)?)),
            _ => {
                let linear = || Some((size(Part::LoraA, 1)?, size(Part::LoraB, 0)?));
                linear().or_else(|| Some((size(Part::EmbeddingA, 1)?, size(Part::EmbeddingB, 0)?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch evaluates adapters on several threads.
    #[test]
    fn adapters_are_shared_between_threads() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<Adapter>();
    }
}
