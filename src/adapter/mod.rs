//! The adapter folder: reading it, cutting it, comparing two of them.

pub mod config;
mod delta;
mod factors;
mod layer;
pub mod method;
pub mod names;
mod norms;
pub mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{AdapterError, Result};
use crate::tensors::{Entry, TensorStore};
pub use config::AdapterConfig;
pub use delta::{Delta, ExpertStack};
pub use layer::LayerAdapter;
use names::{Key, Part};

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
    /// The names of the tensors, taken apart, in the order of `weights`.
    keys: Vec<Key>,
}

/// One tensor of an adapter, with its name taken apart.
pub struct AdapterTensor<'a> {
    pub name: &'a str,
    pub entry: &'a Entry,
    pub key: &'a Key,
}

impl Adapter {
    /// Opens the folder that PEFT's `save_pretrained` wrote and checks that it is whole: every `lora_A` has its
    /// `lora_B`, and their rank is the one of the configuration. `stack` names the layer stack where several are there.
    pub fn open(path: &Path, stack: Option<&str>) -> Result<Self> {
        if !path.is_dir() {
            return Err(AdapterError::NotAnAdapter { path: path.into(), missing: "folder of that name" }.into());
        }
        let config = AdapterConfig::read(path)?;
        let weights = open_weights(path)?;
        let stack = find_stack(path, &weights, stack)?;
        let keys = weights.iter().map(|(name, _)| Key::parse(name)).collect();
        let adapter = Self { path: path.into(), config, weights, stack, keys };
        if let Some(&layer) = adapter.layers().last().filter(|&&layer| layer >= names::MOST_LAYERS) {
            return Err(AdapterError::LayerNumber { path: path.into(), layer }.into());
        }
        adapter.check_pairs()?;
        Ok(adapter)
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = AdapterTensor<'_>> {
        self.weights.iter().zip(&self.keys).map(|((name, entry), key)| AdapterTensor { name, entry, key })
    }

    /// The decoder layer that a module belongs to; `None` for modules outside the stack, which are always kept.
    pub fn layer_of(&self, module: &str) -> Option<usize> {
        names::stack_and_layer(module).filter(|(stack, _)| *stack == self.stack).map(|(_, layer)| layer)
    }

    /// The name inside layer `layer` of a module there: `self_attn.q_proj`.
    pub fn inside_layer<'a>(&self, module: &'a str, layer: usize) -> &'a str {
        module.strip_prefix(&format!("{}.{layer}.", self.stack)).unwrap_or_default()
    }

    /// The decoder layers that the adapter has tensors for.
    pub fn layers(&self) -> BTreeSet<usize> {
        self.tensors().filter_map(|tensor| self.layer_of(&tensor.key.module)).collect()
    }

    /// One more than the highest layer with tensors: the smallest boundary that keeps everything.
    pub fn layer_count(&self) -> usize {
        self.layers().last().map_or(0, |last| last + 1)
    }

    /// The modules that the adapter wraps, by name, with the names of their tensors.
    pub fn modules(&self) -> BTreeMap<String, BTreeMap<Part, &str>> {
        let mut modules: BTreeMap<String, BTreeMap<Part, &str>> = BTreeMap::new();
        for tensor in self.tensors().filter(|tensor| tensor.key.is_wrapped()) {
            modules.entry(tensor.key.module.clone()).or_default().insert(tensor.key.part, tensor.name);
        }
        modules
    }

    /// The modules that `modules_to_save` replaces, as the tensors have them.
    pub fn saved_modules(&self) -> BTreeSet<String> {
        let endings: Vec<&str> = match self.config.raw.get("modules_to_save").and_then(|value| value.as_array()) {
            Some(list) => list.iter().filter_map(|name| name.as_str()).collect(),
            None => Vec::new(),
        };
        // A saved module may hold others: the outermost one whose name has the ending is what PEFT replaces.
        let outermost = |module: &str| {
            let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
            let mut names = ends.map(|end| &module[..end]);
            names.find(|name| endings.iter().any(|ending| name.ends_with(ending))).map(String::from)
        };
        let saved = self.tensors().filter(|tensor| tensor.key.part == Part::Saved);
        saved.filter_map(|tensor| outermost(&tensor.key.module)).collect()
    }

    /// The bytes of the tensors, and of those that are kept at boundary `boundary`.
    pub fn bytes_below(&self, boundary: usize) -> u64 {
        let kept = |tensor: &AdapterTensor| self.layer_of(&tensor.key.module).is_none_or(|layer| layer < boundary);
        self.tensors().filter(kept).map(|tensor| tensor.entry.bytes()).sum()
    }

    /// The bytes of each layer's tensors.
    pub fn layer_bytes(&self) -> BTreeMap<usize, u64> {
        let mut bytes = BTreeMap::new();
        for tensor in self.tensors() {
            if let Some(layer) = self.layer_of(&tensor.key.module) {
                *bytes.entry(layer).or_insert(0) += tensor.entry.bytes();
            }
        }
        bytes
    }

    /// Adapters that the sweep cannot evaluate are refused before it starts.
    pub fn check_can_be_evaluated(&self) -> Result<()> {
        let method = self.config.method;
        if !method.is_evaluated {
            return Err(self.unsupported(format!("the method {}", method.name)).into());
        }
        if let Some(init) = self.config.changes_base() {
            return Err(AdapterError::ChangesBase { path: self.path.clone(), init }.into());
        }
        if let Some(obstacle) = self.config.obstacles().into_iter().next() {
            return Err(self.unsupported(obstacle).into());
        }
        for tensor in self.tensors() {
            if tensor.key.is_wrapped() && !method.has(tensor.key.part) {
                return Err(self
                    .unsupported(format!("the tensor `{}`, which is none of {}", tensor.name, method.name))
                    .into());
            }
            let is_convolution = matches!(tensor.key.part, Part::LoraA | Part::LoraB) && tensor.entry.shape.len() != 2
                || matches!(tensor.key.part, Part::Factor("hada_t1" | "hada_t2" | "lokr_t2"));
            if is_convolution {
                return Err(self.unsupported(format!("the convolution `{}`", tensor.name)).into());
            }
        }
        let wants_magnitudes = self.config.flag("use_dora");
        for (module, parts) in self.modules() {
            if parts.contains_key(&Part::Magnitude) != wants_magnitudes {
                let has =
                    if wants_magnitudes { "no magnitude with `use_dora`" } else { "a magnitude without `use_dora`" };
                return Err(self.unsupported(format!("{has} (`{module}`)")).into());
            }
        }
        Ok(())
    }

    fn unsupported(&self, feature: String) -> AdapterError {
        AdapterError::CannotEvaluate { path: self.path.clone(), feature }
    }

    /// The sizes of a wrapped module as its factors have them, (inputs, outputs), where they tell.
    pub fn module_shape(&self, parts: &BTreeMap<Part, &str>) -> Option<(usize, usize)> {
        let size = |part: Part, dim: usize| self.weights.get(parts.get(&part)?)?.shape.get(dim).copied();
        let factor = |name: &'static str, dim: usize| size(Part::Factor(name), dim);
        let w1 = |dim| factor("lokr_w1", dim).or(factor(["lokr_w1_a", "lokr_w1_b"][dim], dim));
        let w2 = |dim| factor("lokr_w2", dim).or(factor(["lokr_w2_a", "lokr_w2_b"][dim], dim));
        match self.config.method.peft_type {
            "LOHA" => Some((factor("hada_w1_b", 1)?, factor("hada_w1_a", 0)?)),
            "LOKR" => Some((w1(1)? * w2(1)?, w1(0)? * w2(0)?)),
            _ => {
                let linear = || Some((size(Part::LoraA, 1)?, size(Part::LoraB, 0)?));
                linear().or_else(|| Some((size(Part::EmbeddingA, 1)?, size(Part::EmbeddingB, 0)?)))
            }
        }
    }

    fn check_pairs(&self) -> Result<()> {
        let path = || self.path.clone();
        let modules = self.modules();
        if modules.is_empty() {
            return Err(AdapterError::Empty { path: path() }.into());
        }
        self.check_parts()?;
        let pairs = [
            (Part::LoraA, "lora_A", Part::LoraB, "lora_B"),
            (Part::EmbeddingA, "lora_embedding_A", Part::EmbeddingB, "lora_embedding_B"),
        ];
        for (module, parts) in &modules {
            if let Some(part) =
                factors::misshapen(parts, |name| self.weights.get(name).map(|entry| entry.shape.as_slice()))
            {
                let tensor = parts[&part].to_string();
                return Err(AdapterError::Factors { path: path(), module: module.clone(), tensor }.into());
            }
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

    /// Two tensors may stand for one and the same, under PEFT's names of today and of before; which of them counts cannot be known.
    fn check_parts(&self) -> Result<()> {
        let mut known = BTreeMap::new();
        for tensor in self.tensors().filter(|tensor| tensor.key.is_wrapped()) {
            let name = tensor.name.to_string();
            if let Some(other) = known.insert((tensor.key.module.clone(), tensor.key.part), name.clone()) {
                return Err(AdapterError::SamePart { path: self.path.clone(), one: other, other: name }.into());
            }
        }
        Ok(())
    }

    /// A pair is (rank, inputs) and (outputs, rank), convolutions with further sizes behind.
    fn check_rank(&self, module: &str, a: &str, b: &str) -> Result<()> {
        // With LoRA on parameters the experts are folded into the rank; AdaLoRA keeps a part of it in each module,
        // and MergedLinear has it once for each of its slices.
        let is_lora = self.config.method.peft_type == "LORA";
        if !is_lora || self.parameter_of(module).is_some() || self.config.flag("enable_lora") {
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

/// Opens the weights under the first name that is there: as PEFT saves them, in shards, as PEFT used to, and as some
/// trainers do.
fn open_weights(folder: &Path) -> Result<TensorStore> {
    const NAMES: [&str; 4] =
        [WEIGHTS_NAME, "adapter_model.safetensors.index.json", "adapter_model.bin", "model.safetensors"];
    let mut files = NAMES.into_iter().map(|name| folder.join(name));
    let missing = || AdapterError::NotAnAdapter { path: folder.into(), missing: WEIGHTS_NAME };
    let file = files.find(|file| file.exists()).ok_or_else(missing)?;
    match file.extension() {
        Some(extension) if extension == "bin" => TensorStore::open_pickle(&file),
        _ => TensorStore::open_safetensors(&file),
    }
}

fn find_stack(path: &Path, weights: &TensorStore, wanted: Option<&str>) -> Result<String> {
    let modules: BTreeSet<String> = weights.iter().map(|(name, _)| Key::parse(name).module).collect();
    let stacks = names::find_stacks(modules.iter().map(String::as_str));
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
