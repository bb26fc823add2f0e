//! Where a role's weight lies in the files of a base model, and what has to be undone when it is read.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::ModelConfig;
use super::family::{Family, Norms, Outer, Positions, Role};
use super::linear::Norm;
use crate::error::{BaseError, Result, TensorError};
use crate::kernel::Arithmetic;
use crate::tensors::{Dtype, TensorStore};

/// The weights of a base model by role.
#[derive(Debug)]
pub struct Weights {
    store: TensorStore,
    names: Names,
}

#[derive(Debug)]
enum Names {
    /// `decoder` stands before the names inside the decoder, `model.` as a rule and nothing in a bare model; `head`
    /// before that of the head.
    HuggingFace {
        decoder: String,
        head: String,
        outer: &'static Outer,
    },
    Gguf,
}

/// The tensors outside the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Embedding,
    EmbeddingNorm,
    Positions,
    FinalNorm,
    Head,
}

impl Weights {
    /// Finds the decoder in the tensors of a Hugging Face model. A multimodal one has other stacks of layers beside it,
    /// but only the decoder has embeddings of words beside its layers.
    pub fn hugging_face(store: TensorStore, family: &Family) -> Result<Self> {
        let outer = family.outer;
        let first = [Role::Query, Role::QueryKeyValue].into_iter().flat_map(|role| family.modules(role)).next();
        let mark = format!("{}.0.{}.weight", outer.stack, first.unwrap_or_default());
        let embedding = |prefix: &str| format!("{prefix}{}.weight", outer.embedding);
        let decoder = store
            .iter()
            .filter_map(|(name, _)| name.strip_suffix(&mark))
            .find(|prefix| store.get(&embedding(prefix)).is_some())
            .map(String::from)
            .ok_or_else(|| BaseError::NotAModel {
                path: store.path().into(),
                reason: format!("it has no tensor `…{mark}` with a `…{}.weight` beside it", outer.embedding),
            })?;
        // The head lies beside the decoder, which may itself lie inside a multimodal model.
        let beside = decoder.strip_suffix("model.").unwrap_or_default().to_string();
        let has_head = store.get(&format!("{beside}{}.weight", outer.head)).is_some();
        let head = if has_head { beside } else { String::new() };
        Ok(Self { store, names: Names::HuggingFace { decoder, head, outer } })
    }

    pub fn gguf(store: TensorStore) -> Self {
        Self { store, names: Names::Gguf }
    }

    pub fn store(&self) -> &TensorStore {
        &self.store
    }

    /// The name of a tensor outside the layers; `None` where the family has none.
    fn outside_module(&self, which: Outside) -> Option<String> {
        let (decoder, head, outer) = match &self.names {
            Names::HuggingFace { decoder, head, outer } => (decoder, head, outer),
            Names::Gguf => {
                return Some(String::from(match which {
                    Outside::Embedding => "token_embd",
                    Outside::EmbeddingNorm => "token_embd_norm",
                    Outside::Positions => "position_embd",
                    Outside::FinalNorm => "output_norm",
                    Outside::Head => "output",
                }));
            }
        };
        let inside = |name: &str| format!("{decoder}{name}");
        match which {
            Outside::Embedding => Some(inside(outer.embedding)),
            Outside::EmbeddingNorm => outer.embedding_norm.map(inside),
            Outside::Positions => outer.positions.map(inside),
            Outside::FinalNorm => Some(inside(outer.final_norm)),
            Outside::Head => Some(format!("{head}{}", outer.head)),
        }
    }

    /// What a module outside the layers is, by its last name.
    pub fn outside_of(family: &Family, module: &str) -> Option<Outside> {
        let (outer, name) = (family.outer, module.rsplit('.').next()?);
        let known = [
            (Some(outer.embedding), Outside::Embedding),
            (outer.embedding_norm, Outside::EmbeddingNorm),
            (outer.positions, Outside::Positions),
            (Some(outer.final_norm), Outside::FinalNorm),
            (Some(outer.head), Outside::Head),
        ];
        known.into_iter().find(|(known, _)| *known == Some(name)).map(|(_, which)| which)
    }

    /// The name of such a tensor if the files have it.
    fn outside(&self, which: Outside, part: &str) -> Option<String> {
        let name = format!("{}.{part}", self.outside_module(which)?);
        self.store.get(&name).is_some().then_some(name)
    }

    fn embedding_name(&self) -> String {
        format!("{}.weight", self.outside_module(Outside::Embedding).unwrap_or_default())
    }

    fn final_norm_name(&self) -> String {
        format!("{}.weight", self.outside_module(Outside::FinalNorm).unwrap_or_default())
    }

    /// The head is a tensor of its own, or the embedding where the files have none. As with transformers 5, a head that is
    /// there counts even if the configuration ties it.
    fn head_name(&self) -> String {
        self.outside(Outside::Head, "weight").unwrap_or_else(|| self.embedding_name())
    }

    /// Whether the head is the embedding: the same tensor, or a copy of it that the configuration ties.
    pub fn has_tied_head(&self, config: &ModelConfig) -> bool {
        let (head, embedding) = (self.head_name(), self.embedding_name());
        head == embedding || config.tied == Some(true) && self.store.are_same(&head, &embedding)
    }

    /// What stands before the names inside layer `layer`, and the names themselves by the role.
    pub fn inside_layer(&self, layer: usize) -> String {
        match &self.names {
            Names::HuggingFace { decoder, outer, .. } => format!("{decoder}{}.{layer}.", outer.stack),
            Names::Gguf => format!("blk.{layer}."),
        }
    }

    /// The module of a role in a layer: by the name that the files have, else by its first.
    fn module(&self, config: &ModelConfig, layer: usize, role: Role) -> String {
        let inside = self.inside_layer(layer);
        if self.is_gguf() {
            return inside + config.family.gguf_module(role);
        }
        let name = |module: &str| format!("{inside}{module}");
        let exists = |module: &&str| self.store.get(&format!("{inside}{module}.weight")).is_some();
        let mut modules = config.family.modules(role);
        let first = modules.next().unwrap_or_default();
        if exists(&first) { name(first) } else { name(modules.find(exists).unwrap_or(first)) }
    }

    fn name(&self, config: &ModelConfig, layer: usize, role: Role, part: &str) -> String {
        let module = self.module(config, layer, role);
        let is_parameter = role == Role::Sinks && !self.is_gguf();
        if is_parameter { module } else { format!("{module}.{part}") }
    }

    /// The roles that a layer has.
    pub fn roles(&self, config: &ModelConfig, layer: usize) -> Vec<Role> {
        let sparse = config.is_sparse(layer);
        let without_shared = config.experts.as_ref().is_none_or(|experts| experts.shared_intermediate_size == 0);
        let is_shared =
            |role: Role| matches!(role, Role::SharedGate | Role::SharedUp | Role::SharedDown | Role::SharedSwitch);
        let is_here = |role: &Role| {
            role.needs_experts().is_none_or(|needed| needed == sparse)
                && !(is_shared(*role) && without_shared)
                && (!config.family.optional.contains(role) || self.has_optional(config, layer, *role))
        };
        config.family.roles().filter(is_here).collect()
    }

    /// Whether this model has a norm that only some of its family have.
    fn has_optional(&self, config: &ModelConfig, layer: usize, role: Role) -> bool {
        match (role, config.head_norms) {
            (Role::MlpNorm, _) => !config.parallel,
            (_, Some(has)) => has,
            (_, None) => self.norm_names(config, layer, role).is_some(),
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
        let head = self.store.entry(&self.head_name())?.shape.clone();
        if head.get(1) != Some(&config.hidden_size) {
            self.store.entry_of_shape(&self.head_name(), &embedding)?;
        }
        self.check_outside(config)?;
        for layer in (0..config.layers).filter(|layer| !config.skipped.contains(layer)) {
            for role in self.roles(config, layer) {
                self.check_role(config, layer, role)?;
            }
            if config.is_sparse(layer) {
                self.check_experts(config, layer)?;
            }
        }
        Ok(())
    }

    fn check_outside(&self, config: &ModelConfig) -> Result<()> {
        let hidden = config.hidden_size;
        let missing = |name: String| TensorError::Missing { path: self.store.path().into(), name };
        // A GGUF file without a head has it tied; a configuration says so.
        if !self.is_gguf() && config.tied == Some(false) && self.outside(Outside::Head, "weight").is_none() {
            return Err(missing(self.outside_module(Outside::Head).unwrap_or_default() + ".weight").into());
        }
        if let Some(bias) = self.outside(Outside::Head, "bias") {
            self.store.entry_of_shape(&bias, &[self.head_size()?])?;
        }
        let needs_positions = config.family.positions == Positions::Learned;
        let needs_norm = config.family.outer.embedding_norm.is_some();
        for (which, needed) in
            [(Outside::FinalNorm, true), (Outside::EmbeddingNorm, needs_norm), (Outside::Positions, needs_positions)]
        {
            let Some(module) = self.outside_module(which).filter(|_| needed) else { continue };
            let weight = format!("{module}.weight");
            if which == Outside::Positions {
                let rows = self.store.entry(&weight)?.shape.first().copied().unwrap_or(0);
                self.store.entry_of_shape(&weight, &[rows.max(config.context), hidden])?;
                continue;
            }
            self.store.entry_of_shape(&weight, &[hidden])?;
            if let Some(bias) = self.outside(which, "bias") {
                self.store.entry_of_shape(&bias, &[hidden])?;
            }
        }
        Ok(())
    }

    fn check_role(&self, config: &ModelConfig, layer: usize, role: Role) -> Result<()> {
        let mut shape = config.shape_of(role);
        let outputs = shape[0];
        if role.is_norm() {
            let missing = || TensorError::Missing {
                path: self.store.path().into(),
                name: self.name(config, layer, role, "weight"),
            };
            for name in self.norm_names(config, layer, role).ok_or_else(missing)? {
                // A norm of each head has one row of weights for all, or one for each.
                let rows = self.store.entry(&name)?.shape.len();
                let heads = if role == Role::QueryNorm { config.heads } else { config.kv_heads };
                let expected = if rows == 2 { vec![heads, shape[0]] } else { shape.clone() };
                self.store.entry_of_shape(&name, &expected)?;
                let bias = name.replace(".weight", ".bias");
                if bias != name && self.store.get(&bias).is_some() {
                    self.store.entry_of_shape(&bias, &expected)?;
                }
            }
            return Ok(());
        }
        if self.linears_are_transposed(config) {
            shape.reverse();
        }
        let name = self.name(config, layer, role, "weight");
        // llama.cpp drops the one output of the shared expert's switch.
        let is_vector = role == Role::SharedSwitch && self.store.entry(&name)?.shape.len() == 1;
        self.store.entry_of_shape(&name, if is_vector { &shape[1..] } else { &shape })?;
        let bias = self.name(config, layer, role, "bias");
        if role.is_linear() && self.store.get(&bias).is_some() {
            self.store.entry_of_shape(&bias, &[outputs])?;
        }
        Ok(())
    }

    /// Whether the linear weights of all layers are stored in bf16.
    pub fn are_bf16(&self, config: &ModelConfig) -> bool {
        let is_bf16 =
            |name: &str| self.store.get(name).is_none_or(|entry| entry.dtype() == Some(Dtype::BF16));
        (0..config.layers).all(|layer| {
            let linears = self.roles(config, layer).into_iter().filter(|role| role.is_linear());
            linears.into_iter().all(|role| is_bf16(&self.name(config, layer, role, "weight")))
        })
    }

    /// Has the operating system begin to read a layer, but for its experts.
    pub fn announce(&self, config: &ModelConfig, layer: usize) {
        for role in self.roles(config, layer) {
            self.store.prefetch(&self.name(config, layer, role, "weight"));
        }
    }

    /// The weight of a linear role in a layer: (outputs, inputs), in f32, or as it is stored if `arithmetic` takes that.
    pub fn weight(
        &self,
        config: &ModelConfig,
        layer: usize,
        role: Role,
        (device, arithmetic): (&Device, Arithmetic),
    ) -> Result<Tensor> {
        let name = self.name(config, layer, role, "weight");
        let weight = match arithmetic.takes_bf16() && device.is_cpu() {
            true => self.store.load_narrow(&name)?,
            false => self.store.load(&name, device)?,
        };
        let weight = if self.linears_are_transposed(config) { weight.t()? } else { weight };
        let weight = if weight.rank() == 1 { weight.unsqueeze(0)? } else { weight };
        Ok(self.in_model_order(weight, role, config)?)
    }

    fn linears_are_transposed(&self, config: &ModelConfig) -> bool {
        config.family.linears_transposed && !self.is_gguf()
    }

    pub fn is_gguf(&self) -> bool {
        matches!(self.names, Names::Gguf)
    }

    /// The norm of a role in a layer.
    pub fn norm(&self, config: &ModelConfig, layer: usize, role: Role, device: &Device) -> Result<Norm> {
        let names = self.norm_names(config, layer, role).unwrap_or_default();
        let [name] = names.as_slice() else {
            let rows = names.iter().map(|name| self.store.load(name, device)).collect::<Result<Vec<_>>>()?;
            return Ok(Norm { weight: Tensor::stack(&rows, 0)?, bias: None });
        };
        self.load_norm(name, config, device)
    }

    /// The tensors of a norm: one, or one for each head; `None` where the layer does without.
    fn norm_names(&self, config: &ModelConfig, layer: usize, role: Role) -> Option<Vec<String>> {
        let name = self.name(config, layer, role, "weight");
        if self.store.get(&name).is_some() {
            return Some(vec![name]);
        }
        let heads = if role == Role::QueryNorm { config.heads } else { config.kv_heads };
        let of_head = |head: usize| self.name(config, layer, role, &format!("norms.{head}.weight"));
        self.store.get(&of_head(0))?;
        Some((0..heads).map(of_head).collect())
    }

    fn load_norm(&self, name: &str, config: &ModelConfig, device: &Device) -> Result<Norm> {
        let weight = self.store.load(name, device)?;
        let weight = self.norm_factor(weight, config)?;
        let bias = name.strip_suffix("weight").map(|module| format!("{module}bias"));
        let bias = bias.filter(|bias| self.store.get(bias).is_some());
        Ok(Norm { weight, bias: bias.map(|bias| self.store.load(&bias, device)).transpose()? })
    }

    /// What values are multiplied with, from a norm's weight as it is stored.
    pub fn norm_factor(&self, weight: Tensor, config: &ModelConfig) -> candle_core::Result<Tensor> {
        let add_one = config.family.norms == Norms::RmsPlusOne && !self.is_gguf();
        if add_one { weight + 1.0 } else { Ok(weight) }
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

    /// The attention sinks of a layer: (heads).
    pub fn sinks(&self, config: &ModelConfig, layer: usize, device: &Device) -> Result<Tensor> {
        self.store.load(&self.name(config, layer, Role::Sinks, "weight"), device)
    }

    /// Undoes llama.cpp's row orders. Its rotary embedding turns neighbouring values, that of transformers the two halves
    /// of a head, so its converter interleaves the halves of some families: (heads, 2, half) became (heads, half, 2). It
    /// also brings all queries before all keys and values where a fused matrix has them head by head.
    fn in_model_order(&self, tensor: Tensor, role: Role, config: &ModelConfig) -> candle_core::Result<Tensor> {
        let (family, head_dim) = (config.family, config.head_dim);
        let sizes = match role {
            Role::Query if family.gguf_permutes_query_and_key => (config.heads, head_dim / 2, 2),
            Role::Key if family.gguf_permutes_query_and_key => (config.kv_heads, head_dim / 2, 2),
            Role::QueryKeyValue if family.fused_by_head => (1, 3, config.heads),
            _ => return Ok(tensor),
        };
        if !self.is_gguf() {
            return Ok(tensor);
        }
        let shape = tensor.shape().clone();
        let rest = tensor.elem_count() / (sizes.0 * sizes.1 * sizes.2);
        tensor.reshape((sizes.0, sizes.1, sizes.2, rest))?.transpose(1, 2)?.contiguous()?.reshape(shape)
    }

    /// The rows of the embedding for `ids`: (ids, hidden).
    pub fn embed(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        self.store.rows_of(&self.embedding_name(), ids, device)
    }

    /// The learned embeddings of positions, (positions, hidden), where the model has such.
    pub fn embed_positions(&self, positions: &[u32], device: &Device) -> Result<Option<Tensor>> {
        let name = self.outside(Outside::Positions, "weight");
        name.map(|name| self.store.rows_of(&name, positions, device)).transpose()
    }

    /// The norm of the embeddings, where the model has one.
    pub fn embedding_norm(&self, config: &ModelConfig, device: &Device) -> Result<Option<Norm>> {
        let name = self.outside(Outside::EmbeddingNorm, "weight");
        name.map(|name| self.load_norm(&name, config, device)).transpose()
    }

    pub fn final_norm(&self, config: &ModelConfig, device: &Device) -> Result<Norm> {
        self.load_norm(&self.final_norm_name(), config, device)
    }

    /// The words that the head knows: more or fewer than the embedding in some multimodal models.
    pub fn head_size(&self) -> Result<usize> {
        Ok(self.store.entry(&self.head_name())?.shape.first().copied().unwrap_or(0))
    }

    /// Rows `rows` of the head: (rows, hidden), as [`weight`](Self::weight).
    pub fn head(&self, rows: Range<usize>, (device, arithmetic): (&Device, Arithmetic)) -> Result<Tensor> {
        match arithmetic.takes_bf16() && device.is_cpu() {
            true => self.store.load_rows_narrow(&self.head_name(), rows),
            false => self.store.load_rows(&self.head_name(), rows, device),
        }
    }

    /// The bias of the head, (words), where there is one.
    pub fn head_bias(&self, device: &Device) -> Result<Option<Tensor>> {
        let name = self.outside(Outside::Head, "bias");
        name.map(|name| self.store.load(&name, device)).transpose()
    }

    /// GGUF's form of LongRoPE's divisors: those of short and those of long sequences.
    pub fn longrope_factors(&self) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
        let load =
            |name: &str| -> Result<Vec<f64>> { Ok(self.store.load_finite(name)?.into_iter().map(f64::from).collect()) };
        if self.store.get("rope_factors_short.weight").is_none() {
            return Ok(None);
        }
        Ok(Some((load("rope_factors_short.weight")?, load("rope_factors_long.weight")?)))
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
