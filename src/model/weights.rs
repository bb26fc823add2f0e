//! Where a role's weight lies in the files of a base model, and what has to be undone when it is read.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::ModelConfig;
use super::family::{Family, Role};
use crate::error::{BaseError, Result};
use crate::tensors::TensorStore;

/// The weights of a base model by role.
#[derive(Debug)]
pub struct Weights {
    store: TensorStore,
    names: Names,
}

#[derive(Debug)]
enum Names {
    /// `prefix` stands before `layers.N`: `model.` as a rule, nothing in a bare model.
    HuggingFace {
        prefix: String,
    },
    Gguf,
}

impl Weights {
    pub fn hugging_face(store: TensorStore, family: &Family) -> Result<Self> {
        let mark = format!("layers.0.{}.weight", family.module(Role::Query));
        let found = store.iter().find_map(|(name, _)| name.strip_suffix(&mark).map(String::from));
        let prefix = found.ok_or_else(|| BaseError::NotAModel {
            path: store.path().into(),
            reason: format!("it has no tensor `…{mark}`"),
        })?;
        Ok(Self { store, names: Names::HuggingFace { prefix } })
    }

    pub fn gguf(store: TensorStore) -> Self {
        Self { store, names: Names::Gguf }
    }

    pub fn store(&self) -> &TensorStore {
        &self.store
    }

    fn embedding_name(&self) -> String {
        match &self.names {
            Names::HuggingFace { prefix } => format!("{prefix}embed_tokens.weight"),
            Names::Gguf => "token_embd.weight".into(),
        }
    }

    fn final_norm_name(&self) -> String {
        match &self.names {
            Names::HuggingFace { prefix } => format!("{prefix}norm.weight"),
            Names::Gguf => "output_norm.weight".into(),
        }
    }

    /// The head is a tensor of its own, or the embedding where they are tied.
    fn head_name(&self, config: &ModelConfig) -> String {
        let name = match self.names {
            Names::HuggingFace { .. } => "lm_head.weight",
            Names::Gguf => "output.weight",
        };
        // Some checkpoints carry a stale head although the configuration ties it.
        if config.tied != Some(true) && self.store.get(name).is_some() { name.into() } else { self.embedding_name() }
    }

    fn name(&self, config: &ModelConfig, layer: usize, role: Role, part: &str) -> String {
        match &self.names {
            Names::HuggingFace { prefix } => format!("{prefix}layers.{layer}.{}.{part}", config.family.module(role)),
            Names::Gguf => format!("blk.{layer}.{}.{part}", config.family.gguf_module(role)),
        }
    }

    /// The rows of the embedding.
    pub fn vocab_size(&self) -> Result<usize> {
        Ok(self.store.entry(&self.embedding_name())?.shape.first().copied().unwrap_or(0))
    }

    /// Checks that every weight is there and has the shape that the configuration gives it, so that a sweep does not
    /// fail in its last layer.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let embedding = [config.vocab_size, config.hidden_size];
        self.store.entry_of_shape(&self.embedding_name(), &embedding)?;
        self.store.entry_of_shape(&self.head_name(config), &embedding)?;
        self.store.entry_of_shape(&self.final_norm_name(), &[config.hidden_size])?;
        for layer in 0..config.layers {
            for role in config.family.roles() {
                let shape = shape_of(role, config);
                self.store.entry_of_shape(&self.name(config, layer, role, "weight"), &shape)?;
                let bias = self.name(config, layer, role, "bias");
                if self.store.get(&bias).is_some() {
                    self.store.entry_of_shape(&bias, &shape[..1])?;
                }
            }
        }
        Ok(())
    }

    /// The weight of a linear role in a layer: (outputs, inputs).
    pub fn weight(&self, config: &ModelConfig, layer: usize, role: Role, device: &Device) -> Result<Tensor> {
        let weight = self.store.load(&self.name(config, layer, role, "weight"), device)?;
        Ok(self.in_model_order(weight, role, config)?)
    }

    /// The weight of a norm in a layer, as what values are multiplied with: (size).
    pub fn norm(&self, config: &ModelConfig, layer: usize, role: Role, device: &Device) -> Result<Tensor> {
        self.load_norm(&self.name(config, layer, role, "weight"), config, device)
    }

    fn load_norm(&self, name: &str, config: &ModelConfig, device: &Device) -> Result<Tensor> {
        let weight = self.store.load(name, device)?;
        let add_one = config.family.norms_add_one && !matches!(self.names, Names::Gguf);
        Ok(if add_one { (weight + 1.0)? } else { weight })
    }

    /// The bias of a role in a layer: (outputs), where there is one.
    pub fn bias(&self, config: &ModelConfig, layer: usize, role: Role, device: &Device) -> Result<Option<Tensor>> {
        let name = self.name(config, layer, role, "bias");
        if self.store.get(&name).is_none() {
            return Ok(None);
        }
        let bias = self.store.load(&name, device)?;
        Ok(Some(self.in_model_order(bias, role, config)?))
    }

    /// Undoes llama.cpp's row order. Its rotary embedding turns neighbouring values, that of transformers the two halves
    /// of a head, so its converter interleaves the halves: (heads, 2, half) became (heads, half, 2).
    fn in_model_order(&self, tensor: Tensor, role: Role, config: &ModelConfig) -> candle_core::Result<Tensor> {
        let heads = match role {
            Role::Query => config.heads,
            Role::Key => config.kv_heads,
            _ => return Ok(tensor),
        };
        if !matches!(self.names, Names::Gguf) || !config.family.gguf_permutes_query_and_key {
            return Ok(tensor);
        }
        let shape = tensor.shape().clone();
        let columns = tensor.elem_count() / shape.dims()[0];
        tensor.reshape((heads, config.head_dim / 2, 2, columns))?.transpose(1, 2)?.contiguous()?.reshape(shape)
    }

    /// The rows of the embedding for `ids`: (ids, hidden).
    pub fn embed(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        let name = self.embedding_name();
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let rows = unique
            .iter()
            .map(|&id| self.store.load_rows(&name, id as usize..id as usize + 1, device))
            .collect::<Result<Vec<_>>>()?;
        let position = |id: &u32| unique.binary_search(id).unwrap_or_default() as u32;
        let index = Tensor::from_iter(ids.iter().map(position), device)?;
        Ok(Tensor::cat(&rows, 0)?.index_select(&index, 0)?)
    }

    /// The weight of the final norm: (hidden).
    pub fn final_norm(&self, config: &ModelConfig, device: &Device) -> Result<Tensor> {
        self.load_norm(&self.final_norm_name(), config, device)
    }

    /// Rows `rows` of the head: (rows, hidden).
    pub fn head(&self, config: &ModelConfig, rows: Range<usize>, device: &Device) -> Result<Tensor> {
        self.store.load_rows(&self.head_name(config), rows, device)
    }

    /// GGUF's form of Llama 3's rope scaling: divisors of the frequencies.
    pub fn rope_divisors(&self) -> Result<Option<Vec<f32>>> {
        match self.names {
            Names::Gguf if self.store.get("rope_freqs.weight").is_some() => {
                self.store.load_finite("rope_freqs.weight").map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The shape that the configuration gives to a role's weight: (outputs, inputs), or (size) for a norm.
pub fn shape_of(role: Role, config: &ModelConfig) -> Vec<usize> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    match role {
        Role::AttentionNorm | Role::AttentionPostNorm | Role::MlpNorm | Role::MlpPostNorm => vec![hidden],
        Role::QueryNorm if config.family.norms_heads_together => vec![config.query_size()],
        Role::KeyNorm if config.family.norms_heads_together => vec![config.kv_size()],
        Role::QueryNorm | Role::KeyNorm => vec![config.head_dim],
        Role::Query => vec![config.query_size(), hidden],
        Role::Key | Role::Value => vec![config.kv_size(), hidden],
        Role::AttentionOut => vec![hidden, config.query_size()],
        Role::Gate | Role::Up => vec![intermediate, hidden],
        Role::Down => vec![hidden, intermediate],
    }
}
