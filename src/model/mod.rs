//! The base model: one decoder, driven by its configuration, that is read layer by layer.
//!
//! A [`Model`] holds no weights. [`Model::layer`] reads one layer, widens it to f32 and hands it out; dropping the
//! [`Layer`] frees it. Every sum is taken in f32 on the device, losses in f64 on the host.

mod attention;
mod cache;
pub mod config;
pub mod device;
mod ends;
mod experts;
pub mod family;
mod head;
mod layer;
mod linear;
mod pass;
mod rope;
mod stops;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::adapter::Adapter;
use crate::adapter::names::Part;
use crate::error::{BaseError, Result};
use crate::files;
use crate::hub::BasePath;
use crate::kernel::Arithmetic;
use crate::samples::packing::Batch;
use crate::tensors::{GgufMetadata, TensorStore};
pub use cache::Cache;
pub use config::ModelConfig;
pub use ends::AdaptedModel;
pub use experts::{Expert, Routed};
pub use family::Family;
use family::Role;
pub use head::{AnswerRows, KeptHead, Outcome};
pub use layer::Layer;
pub use pass::Pass;
use rope::Rope;
pub use rope::RopeTable;
use weights::{Outside, Weights};

/// A base model on disk, opened.
#[derive(Debug)]
pub struct Model {
    pub path: PathBuf,
    pub config: ModelConfig,
    /// The tokens that end what it says.
    pub stops: BTreeSet<u32>,
    weights: Weights,
    device: Device,
    arithmetic: Arithmetic,
}

impl Model {
    /// Opens a Hugging Face folder or a GGUF file. For GGUF the metadata, which holds the tokenizer too, comes with it.
    pub fn open(base: &BasePath, device: &Device, arithmetic: Arithmetic) -> Result<(Self, Option<GgufMetadata>)> {
        match base {
            BasePath::Folder(folder) => Ok((Self::open_folder(folder, device, arithmetic)?, None)),
            BasePath::Gguf(file) => {
                let (store, metadata) = TensorStore::open_gguf(file)?;
                let weights = Weights::gguf(store);
                let config = ModelConfig::from_gguf(&metadata, &weights, file)?;
                let stops = stops::of_gguf(&metadata);
                Ok((Self::checked(file, (config, stops), weights, (device, arithmetic))?, Some(metadata)))
            }
        }
    }

    fn open_folder(folder: &Path, device: &Device, arithmetic: Arithmetic) -> Result<Self> {
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
        let stops = stops::of_folder(folder, &json)?;
        Self::checked(folder, (config, stops), weights, (device, arithmetic))
    }

    fn checked(
        path: &Path,
        (config, stops): (ModelConfig, BTreeSet<u32>),
        weights: Weights,
        (device, arithmetic): (&Device, Arithmetic),
    ) -> Result<Self> {
        weights.check(&config)?;
        Ok(Self { path: path.into(), config, stops, weights, device: device.clone(), arithmetic })
    }

    /// The weight files, for the report.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.weights.store().files()
    }

    /// Whether the weight files are still as they were when they were opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.weights.store().check_unchanged()
    }

    /// Checks that everything that the adapter has in a layer is in this model and has its size.
    pub fn check_fits(&self, adapter: &Adapter) -> Result<()> {
        for (module, parts) in adapter.modules() {
            let Some(layer) = adapter.layer_of(&module) else { continue };
            if layer >= self.config.layers {
                return Err(
                    BaseError::TooFewLayers { base: self.path.clone(), layer, layers: self.config.layers }.into()
                );
            }
            if self.config.skipped.contains(&layer) {
                continue;
            }
            let name = adapter.parameter_of(&module).unwrap_or(module.clone());
            let shape = self.module_shape(layer, adapter.inside_layer(&name, layer));
            let shape = shape.ok_or_else(|| self.no_such_module(&module))?;
            self.check_module(adapter, &module, &parts, shape)?;
        }
        for tensor in adapter.tensors().filter(|tensor| tensor.key.part == Part::Saved) {
            let module = &tensor.key.module;
            let Some(layer) = adapter.layer_of(module).filter(|layer| !self.config.skipped.contains(layer)) else {
                continue;
            };
            let role = self.config.family.role_of(adapter.inside_layer(module, layer));
            let mut shape = self.config.shape_of(role.ok_or_else(|| self.no_such_module(module))?);
            if tensor.name.ends_with(".bias") {
                shape.truncate(1);
            } else if self.config.family.linears_transposed {
                shape.reverse();
            }
            // A norm of each head may have one row of weights for all, or one for each.
            let stored = &adapter.weights.entry(tensor.name)?.shape;
            if role.is_some_and(Role::is_norm) && stored.len() == 2 && stored[1..] == shape[..] {
                continue;
            }
            adapter.weights.entry_of_shape(tensor.name, &shape)?;
        }
        Ok(())
    }

    /// Checks the tensors of one module of the adapter against the sizes (inputs, outputs) of the model's.
    fn check_module(
        &self,
        adapter: &Adapter,
        module: &str,
        parts: &BTreeMap<Part, &str>,
        (base_in, base_out): (usize, usize),
    ) -> Result<()> {
        if let Some((adapter_in, adapter_out)) = adapter.module_shape(parts)
            && (adapter_in, adapter_out) != (base_in, base_out)
        {
            let (base, module) = (self.path.clone(), module.into());
            return Err(BaseError::ModuleShape { base, module, adapter_in, adapter_out, base_in, base_out }.into());
        }
        for name in [Part::LoraBias, Part::Magnitude].iter().filter_map(|part| parts.get(part)) {
            adapter.weights.entry_of_shape(name, &[base_out])?;
        }
        if let (Some(parameter), Some(a)) = (adapter.parameter_of(module), parts.get(&Part::LoraA)) {
            let experts = self.config.experts.as_ref().map_or(0, |experts| experts.count);
            let folded = experts * adapter.config.rank_of(&parameter);
            adapter.weights.entry_of_shape(a, &[folded, base_in])?;
            if let Some(b) = parts.get(&Part::LoraB) {
                adapter.weights.entry_of_shape(b, &[base_out, folded])?;
            }
        }
        Ok(())
    }

    fn no_such_module(&self, module: &str) -> BaseError {
        BaseError::NoSuchModule { base: self.path.clone(), module: module.into() }
    }

    /// The sizes (inputs, outputs) of a linear module of a layer, by its name inside the layer, or of the matrix that
    /// each expert has in a parameter of all.
    fn module_shape(&self, layer: usize, name: &str) -> Option<(usize, usize)> {
        if let Some(shape) = self.config.expert_shape(name) {
            return Some(shape);
        }
        let role = self.config.family.role_of(name)?;
        if !role.is_linear() || !self.weights.roles(&self.config, layer).contains(&role) {
            return None;
        }
        let [outputs, inputs] = self.config.shape_of(role)[..] else { return None };
        Some((inputs, outputs))
    }

    /// What a module outside the layers is, by its name in the adapter.
    fn outside(&self, module: &str) -> Option<Outside> {
        Weights::outside_of(self.config.family, module)
    }

    /// Reads and widens layer `index`.
    pub fn layer(&self, index: usize) -> Result<Layer<'_>> {
        Layer::load(&self.weights, &self.config, index, &self.device, self.arithmetic)
    }

    /// Has the operating system begin to read layer `index`, if there is one, while something else is computed.
    pub fn announce_layer(&self, index: usize) {
        if index < self.config.layers {
            self.weights.announce(&self.config, index);
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The rotary tables of a batch, one for each of `config.ropes`, with one row for each of its tokens.
    fn rope_tables(&self, batch: &Batch) -> Result<Vec<RopeTable>> {
        let divisors = self.weights.rope_divisors()?;
        let table = |rope: &Rope| rope.table(batch.positions(), divisors.as_deref(), &self.device);
        Ok(self.config.ropes.iter().map(table).collect::<candle_core::Result<_>>()?)
    }

    /// Whether a common beginning of several samples has the same values in each of them.
    pub fn shares_prefixes(&self) -> bool {
        !self.config.ropes.iter().any(Rope::depends_on_length)
    }

    /// The length beyond which the keys of a shorter sequence are of no use.
    pub fn turns_anew_beyond(&self) -> Option<usize> {
        self.config.ropes.iter().find_map(Rope::turns_anew_beyond)
    }

    /// The longest sequence that the model takes.
    pub fn longest_sequence(&self) -> usize {
        self.config.ropes.iter().map(|rope| rope.longest(self.config.context)).min().unwrap_or(self.config.context)
    }

    /// The bytes of one layer in the form that products want, the largest, without its experts.
    pub fn kept_layer_bytes(&self) -> u64 {
        let is_narrow = self.arithmetic.takes_bf16() && self.weights.are_bf16(&self.config);
        let value = if is_narrow { size_of::<u16>() } else { size_of::<f32>() };
        self.dense_elements() as u64 * value as u64
    }

    /// The bytes of one layer in f32, the largest; of experts two, because one is read while another is used.
    pub fn layer_bytes(&self) -> u64 {
        let experts = self.config.experts.as_ref().map_or(0, |e| 2 * 3 * e.intermediate_size * self.config.hidden_size);
        (self.dense_elements() + experts) as u64 * size_of::<f32>() as u64
    }

    fn dense_elements(&self) -> usize {
        let size = |shape: Vec<usize>| shape.iter().product::<usize>();
        let elements = |layer: usize| -> usize {
            let roles = self.weights.roles(&self.config, layer).into_iter();
            roles.map(|role| size(self.config.shape_of(role))).sum()
        };
        (0..self.config.layers).map(elements).max().unwrap_or(0)
    }
}
