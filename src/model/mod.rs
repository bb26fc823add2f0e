//! The base model: one decoder, driven by its configuration, that is read layer by layer.
//!
//! A [`Model`] holds no weights. [`Model::layer`] reads one layer, widens it to f32 and hands it out; dropping the
//! [`Layer`] frees it. Every sum is taken in f32 on the device, losses in f64 on the CPU.
//!
//! - `config/`, `family/`: the numbers of a model, and its family as data
//! - `weights/`: which tensor has which role
//! - `layer.rs` with `mixer/`, `mlp.rs`, `experts.rs`: the decoder layer
//! - `adapted.rs`, `embedding.rs`, `head.rs`, `score.rs`: from tokens to the first layer, and from the last to losses

pub mod activation;
mod adapted;
mod altup;
pub mod applied;
mod carried;
mod class_names;
pub mod config;
mod converted;
pub mod device;
mod embedding;
mod experts;
pub mod family;
mod fit;
mod head;
mod layer;
mod linear;
mod mixer;
mod mlp;
mod modules;
mod pass;
mod per_layer;
mod replaced;
mod rope;
mod router;
mod routing;
mod scaling;
mod score;
mod stops;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Result as TensorResult, Tensor};

use crate::error::{BaseError, Result};
use crate::files;
use crate::hub::BasePath;
use crate::kernel::{Arithmetic, machine};
use crate::samples::packing::Batch;
use crate::tensors::{GgufMetadata, TensorStore};
pub use adapted::AdaptedModel;
pub use applied::Applied;
pub use carried::hidden_of;
pub use class_names::{BaseNames, ClassNames};
use config::HfConfig;
pub use config::ModelConfig;
pub use experts::{Expert, Routed};
pub use family::Family;
use family::{Positions, PromptAttention};
pub use head::{AnswerRows, HeadCache};
pub use layer::Layer;
pub use mixer::Cache;
pub use pass::Pass;
pub use replaced::{EmbeddingOrHead, Tie};
use rope::Rope;
pub use rope::RopeTable;
pub use score::TokenScore;
use weights::{LayerWeights, Weights};

/// Why a folder has no weights that are read.
fn missing_weights(folder: &Path) -> &'static str {
    match ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| folder.join(name).exists()) {
        true => {
            "its weights are pytorch_model.bin, which is read into memory as a whole: load it in transformers once, and \
             `save_pretrained` writes model.safetensors"
        }
        false => "it has neither model.safetensors nor model.safetensors.index.json",
    }
}

/// Whether a configuration says how many tokens there are.
fn said_vocabulary(config: &serde_json::Map<String, serde_json::Value>) -> bool {
    let text = config.get("text_config").and_then(|text| text.as_object()).unwrap_or(config);
    text.get("vocab_size").is_some_and(|size| size.is_u64())
}

/// Where a model computes, and how its products are computed.
#[derive(Debug, Clone)]
pub struct Backend {
    pub device: Device,
    pub arithmetic: Arithmetic,
}

impl Backend {
    /// Whether weights in bf16 are taken as they are stored.
    fn takes_bf16(&self) -> bool {
        self.arithmetic.takes_bf16()
    }
}

/// An opened base model.
#[derive(Debug)]
pub struct Model {
    pub path: PathBuf,
    pub config: ModelConfig,
    /// The tokens that end its answers.
    pub stops: BTreeSet<u32>,
    /// What its files hold that is not used, one sentence each.
    pub remarks: Vec<String>,
    /// What its modules are called when transformers has loaded it.
    pub names: BaseNames,
    weights: Weights,
}

impl Model {
    /// Opens a Hugging Face folder or a GGUF file. The metadata of a GGUF file, which holds the tokenizer too, is returned
    /// beside the model.
    pub fn open(base: &BasePath, device: &Device, arithmetic: Arithmetic) -> Result<(Self, Option<GgufMetadata>)> {
        machine::prepare();
        let backend = Backend { device: device.clone(), arithmetic };
        let (mut model, metadata) = match base {
            BasePath::Folder(folder) => (Self::open_folder(folder, backend)?, None),
            BasePath::Gguf(file) => {
                let (store, metadata) = TensorStore::open_gguf(file)?;
                let weights = Weights::gguf(store, backend);
                let (config, remark) = ModelConfig::from_gguf(&metadata, &weights, file)?;
                let weights = weights.named_as(config.family);
                let stops = stops::of_gguf(&metadata);
                let names = BaseNames::of_gguf(config.family.outer);
                let remarks = remark.into_iter().collect();
                (Self { path: file.clone(), config, stops, remarks, names, weights }, Some(metadata))
            }
        };
        model.weights.check(&model.config)?;
        (0..model.config.layers).try_for_each(|layer| model.layer_weights(layer).check())?;
        model.remarks.extend(model.weights.assumed_head(&model.config));
        model.remarks.extend(model.weights.unread(&model.config));
        Ok((model, metadata))
    }

    fn open_folder(folder: &Path, backend: Backend) -> Result<Self> {
        let path = folder.join("config.json");
        let json = files::read_model_config(&path)?;
        let HfConfig { model: mut config, mut remarks } = ModelConfig::from_hf(&json, &path)?;
        let file = ["model.safetensors", "model.safetensors.index.json"]
            .into_iter()
            .map(|name| folder.join(name))
            .find(|file| file.exists())
            .ok_or_else(|| BaseError::NotAModel { path: folder.into(), reason: missing_weights(folder).into() })?;
        let store = TensorStore::open_base(&file, &json)?;
        remarks.extend(config::check_quantisation(&json, &store, &path)?);
        let weights = Weights::hugging_face(store, &config, backend)?;
        // The embedding may have been resized after training, so its rows are the vocabulary, not the configuration's number.
        let said = std::mem::replace(&mut config.vocab_size, weights.vocab_size()?);
        let rows = weights.head_size()?;
        if said != rows && said_vocabulary(&json) {
            remarks.push(format!(
                "the head of `{}` has {rows} rows, and `vocab_size` in its config.json is {said}: all rows count, and transformers \
                 refuses such a folder",
                folder.display()
            ));
        }
        let stops = stops::of_folder(folder, &json)?;
        let names = BaseNames::of_config(&json, weights.decoder());
        Ok(Self { path: folder.into(), config, stops, remarks, names, weights })
    }

    /// The weight files, for the report.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.weights.store.files()
    }

    /// How its weights are quantised, with the number of tensors: `NF4 (210 of 272 tensors)`; `None` where they are plain numbers.
    pub fn quantisation(&self) -> Option<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let store = &self.weights.store;
        let quantised = store.iter().filter(|(_, entry)| entry.is_quantised());
        quantised.for_each(|(_, entry)| *counts.entry(entry.encoding()).or_default() += 1);
        let all = store.iter().count();
        let described = counts.into_iter().map(|(encoding, count)| format!("{encoding} ({count} of {all} tensors)"));
        Some(described.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    }

    /// Checks that the weight files are still as they were when they were opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.weights.store.check_unchanged()
    }

    fn layer_weights(&self, index: usize) -> LayerWeights<'_> {
        LayerWeights { weights: &self.weights, config: &self.config, index }
    }

    /// Reads and widens layer `index`.
    pub fn layer(&self, index: usize) -> Result<Layer<'_>> {
        Layer::load(self.layer_weights(index))
    }

    /// Asks the operating system to begin reading layer `index`, if there is one, while something else is computed.
    pub fn prefetch_layer(&self, index: usize) {
        if index < self.config.layers {
            self.layer_weights(index).prefetch();
        }
    }

    pub fn device(&self) -> &Device {
        &self.weights.backend.device
    }

    pub fn arithmetic(&self) -> Arithmetic {
        self.weights.backend.arithmetic
    }

    /// The rotary tables of a batch, one for each of the model's rotary embeddings, with one row for each of its tokens.
    fn rope_tables(&self, batch: &Batch) -> Result<Vec<RopeTable>> {
        // Where types of layers have embeddings of their own, the configuration has them.
        let divisors = if self.config.family.rope_by_type { None } else { self.weights.rope_divisors()? };
        let table = |rope: &Rope| rope.table(batch.positions(), divisors.as_deref(), self.device());
        Ok(self.config.rotary.ropes.iter().map(table).collect::<TensorResult<_>>()?)
    }

    /// The inputs of all layers that the tokens of a batch have: (rows, layers · size); `None` if layers have no inputs of their own.
    fn per_layer_inputs(&self, batch: &Batch) -> Result<Option<Tensor>> {
        self.weights.embed_per_layer(&self.config, &batch.ids)
    }

    /// Whether a common prefix of several samples has the same hidden states in each of them.
    pub fn shares_prefixes(&self) -> bool {
        let is_causal = self.config.prompt == PromptAttention::Causal;
        is_causal && !self.config.rotary.ropes.iter().any(Rope::depends_on_length)
    }

    /// The length of a sequence beyond which keys that were cached at a smaller length are wrong.
    pub fn cache_limit(&self) -> Option<usize> {
        self.config.rotary.ropes.iter().find_map(Rope::changes_beyond)
    }

    /// Whether there are positions for so many tokens only, because they are learned.
    pub fn ends_at_context(&self) -> bool {
        self.config.family.positions == Positions::Learned
    }

    /// The longest sequence that the model was made for.
    pub fn longest_sequence(&self) -> usize {
        let context = self.config.context;
        self.config.rotary.ropes.iter().map(|rope| rope.longest(context)).min().unwrap_or(context)
    }

    /// The bytes of the largest layer in the form that products take, without its experts.
    pub fn kept_layer_bytes(&self) -> u64 {
        let is_bf16 = || (0..self.config.layers).all(|layer| self.layer_weights(layer).is_bf16());
        let is_narrow = matches!(self.arithmetic(), Arithmetic::Bf16 { .. }) && is_bf16();
        let value = if is_narrow { size_of::<u16>() } else { size_of::<f32>() };
        self.dense_elements() as u64 * value as u64
    }

    /// The bytes of the largest layer in f32, with two of its experts, because one is read while another is used.
    pub fn layer_bytes(&self) -> u64 {
        let experts = self.config.experts.as_ref().map_or(0, |e| 2 * 3 * e.intermediate_size * self.config.hidden_size);
        (self.dense_elements() + experts) as u64 * size_of::<f32>() as u64
    }

    /// The bytes of the maps outside the layers that lie in lists, in f32.
    pub fn listed_bytes(&self) -> u64 {
        let further = (self.config.states_size() - self.config.hidden_size) as u64;
        2 * further * self.config.hidden_size as u64 * size_of::<f32>() as u64
    }

    fn dense_elements(&self) -> usize {
        let elements = |layer: usize| -> usize {
            let roles = self.layer_weights(layer).roles().into_iter();
            roles.map(|role| self.config.shape_of(role, layer).iter().product::<usize>()).sum()
        };
        (0..self.config.layers).map(elements).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server or a binding shares one model between threads.
    #[test]
    fn models_can_be_shared() {
        fn is_shareable<T: Send + Sync>() {}
        is_shareable::<Model>();
        is_shareable::<AdaptedModel>();
        is_shareable::<Layer>();
    }
}
