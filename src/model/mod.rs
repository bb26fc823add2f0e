//! The base model: one decoder, driven by its configuration, that is read layer by layer.
//!
//! A [`Model`] holds no weights. [`Model::layer`] reads one layer, widens it to f32 and hands it out; dropping the
//! [`Layer`] frees it. Every sum is taken in f32 on the device, losses in f64 on the host.

mod attention;
pub mod config;
pub mod family;
mod head;
mod layer;
mod rope;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::adapter::Adapter;
use crate::base::BasePath;
use crate::error::{BaseError, Result};
use crate::files;
use crate::samples::batch::Batch;
use crate::tensors::{GgufMetadata, TensorStore};
pub use config::ModelConfig;
pub use head::AnswerRows;
pub use layer::{Layer, Pass};
use rope::Rope;
pub use rope::RopeTable;
use weights::Weights;

/// A base model on disk, opened.
#[derive(Debug)]
pub struct Model {
    pub path: PathBuf,
    pub config: ModelConfig,
    weights: Weights,
    device: Device,
}

impl Model {
    /// Opens a Hugging Face folder or a GGUF file. For GGUF the metadata, which holds the tokenizer too, comes with it.
    pub fn open(base: &BasePath, device: &Device) -> Result<(Self, Option<GgufMetadata>)> {
        match base {
            BasePath::Folder(folder) => Ok((Self::open_folder(folder, device)?, None)),
            BasePath::Gguf(file) => {
                let (store, metadata) = TensorStore::open_gguf(file)?;
                let weights = Weights::gguf(store);
                let config = ModelConfig::from_gguf(&metadata, weights.vocab_size()?, file)?;
                Ok((Self::checked(file, config, weights, device)?, Some(metadata)))
            }
        }
    }

    fn open_folder(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let json = files::read_json(&path)?;
        let mut config = ModelConfig::from_hf(&json, &path)?;
        let file = ["model.safetensors", "model.safetensors.index.json"]
            .into_iter()
            .map(|name| folder.join(name))
            .find(|file| file.exists())
            .ok_or_else(|| BaseError::NotAModel {
                path: folder.into(),
                reason: "it has neither model.safetensors nor model.safetensors.index.json".into(),
            })?;
        let weights = Weights::hugging_face(TensorStore::open_safetensors(&file)?, config.family)?;
        // An embedding that was resized after training is the truth about the vocabulary.
        config.vocab_size = weights.vocab_size()?;
        Self::checked(folder, config, weights, device)
    }

    fn checked(path: &Path, config: ModelConfig, weights: Weights, device: &Device) -> Result<Self> {
        weights.check(&config)?;
        Ok(Self { path: path.into(), config, weights, device: device.clone() })
    }

    /// The weight files, for the report.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.weights.store().files()
    }

    /// Checks that every module that the adapter wraps is in this model and has its size.
    pub fn check_fits(&self, adapter: &Adapter) -> Result<()> {
        let base = || self.path.clone();
        for module in adapter.modules().into_keys() {
            if let Some(layer) = adapter.layer_of(&module).filter(|&layer| layer >= self.config.layers) {
                return Err(BaseError::TooFewLayers { base: base(), layer, layers: self.config.layers }.into());
            }
            let (base_in, base_out) = self
                .module_shape(&module, &adapter.stack)
                .ok_or_else(|| BaseError::NoSuchModule { base: base(), module: module.clone() })?;
            if let Some((adapter_in, adapter_out)) = adapter.module_shape(&module)
                && (adapter_in, adapter_out) != (base_in, base_out)
            {
                return Err(BaseError::ModuleShape {
                    base: base(),
                    module,
                    adapter_in,
                    adapter_out,
                    base_in,
                    base_out,
                }
                .into());
            }
        }
        Ok(())
    }

    /// The sizes (inputs, outputs) of a linear module of a layer, by its name in the adapter.
    fn module_shape(&self, module: &str, stack: &str) -> Option<(usize, usize)> {
        let (_, name) = module.strip_prefix(stack)?.strip_prefix('.')?.split_once('.')?;
        let role = family::Role::LINEAR.into_iter().find(|&role| self.config.family.module(role) == name)?;
        let [outputs, inputs] = weights::shape_of(role, &self.config)[..] else { return None };
        Some((inputs, outputs))
    }

    /// Reads and widens layer `index`.
    pub fn layer(&self, index: usize) -> Result<Layer<'_>> {
        Layer::load(&self.weights, &self.config, index, &self.device)
    }

    /// The rotary tables of a batch, one for each of `config.ropes`, with one row for each of its tokens.
    pub fn rope_tables(&self, batch: &Batch) -> Result<Vec<RopeTable>> {
        let divisors = self.weights.rope_divisors()?;
        let lengths = || batch.groups.iter().flat_map(|group| std::iter::repeat_n(group.length, group.samples));
        let table = |rope: &Rope| rope.table(self.config.head_dim, lengths(), divisors.as_deref(), &self.device);
        Ok(self.config.ropes.iter().map(table).collect::<candle_core::Result<_>>()?)
    }

    /// The longest sequence that the model takes.
    pub fn longest_sequence(&self) -> usize {
        self.config.ropes.iter().map(|rope| rope.longest(self.config.context)).min().unwrap_or(self.config.context)
    }

    /// The bytes of one layer in f32.
    pub fn layer_bytes(&self) -> u64 {
        let elements: usize = family::Role::LINEAR
            .iter()
            .map(|&role| weights::shape_of(role, &self.config).iter().product::<usize>())
            .sum();
        elements as u64 * size_of::<f32>() as u64
    }
}
