//! The weights of a base model: under which name each is found in the files, and what has to be undone when it is read.
//!
//! This file finds the decoder and reads what is outside its layers; `layer.rs` reads a layer, `experts.rs` its experts,
//! and `check.rs` checks that all of it is there.

mod check;
mod experts;
mod gguf;
mod layer;
mod unread;

use std::ops::Range;

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use super::family::{ALTUP_MAPS, Family, Norms, OUTER_NORMS, OuterNames, Outside, Role};
use super::linear::{Linear, Norm};
use super::{Backend, ModelConfig};
use crate::error::{BaseError, Result};
use crate::tensors::TensorStore;
pub use experts::numbered;
pub use layer::LayerWeights;

/// What transformers 5 writes before the decoder's list of layers where it means that of the vision tower (`qianfan_ocr`).
const RENAMED_STACK: &str = "encoder.";

/// The weights of a base model by role.
#[derive(Debug)]
pub struct Weights {
    pub store: TensorStore,
    pub backend: Backend,
    is_gguf: bool,
    /// What precedes the names inside the decoder, usually `model.`, and that of the head.
    decoder: String,
    /// The name of the list of layers inside the decoder.
    stack: String,
    head: String,
    outer: &'static OuterNames,
    /// The modules outside the layers that have biases; `None` if the files tell.
    outer_biases: Option<&'static [Outside]>,
}

impl Weights {
    /// Finds the decoder in the tensors of a Hugging Face model. A multimodal one has other stacks of layers, but only the
    /// decoder has token embeddings beside its layers.
    pub fn hugging_face(store: TensorStore, config: &ModelConfig, backend: Backend) -> Result<Self> {
        let family = config.family;
        let outer = family.outer;
        // The first layer of a hybrid may have either mixer, or none.
        let is_mark = |role: &Role| role.is_linear() && (role.is_of_mixer() || family.layers_are_single_blocks);
        let roles = family.roles().filter(is_mark);
        let first = roles.flat_map(|role| family.modules(role));
        let marks: Vec<String> = first.map(|module| format!("{}.0.{module}.weight", outer.stack)).collect();
        let before_mark = |name: &str| marks.iter().find_map(|mark| name.strip_suffix(mark.as_str()).map(str::len));
        let has_embedding = |prefix: &str| store.has(&format!("{prefix}{}.weight", outer.embedding));
        let prefix_of = |(name, _)| -> Option<&str> { Some(&name[..before_mark(name)?]) };
        let found = store.iter().filter_map(prefix_of).find_map(|prefix| {
            let renamed = prefix.strip_suffix(RENAMED_STACK);
            if has_embedding(prefix) {
                return Some((prefix, ""));
            }
            renamed.filter(|prefix| has_embedding(prefix)).map(|prefix| (prefix, RENAMED_STACK))
        });
        let (decoder, before_stack) = found.ok_or_else(|| BaseError::NotAModel {
            path: store.path().into(),
            reason: format!(
                "it has no tensor `…{}` with a `…{}.weight` beside it",
                marks.first().map_or("", String::as_str),
                outer.embedding
            ),
        })?;
        let (decoder, stack) = (decoder.to_string(), format!("{before_stack}{}", outer.stack));
        // The head is beside the decoder, which may itself be inside a multimodal model.
        let beside = decoder.strip_suffix("model.").unwrap_or_default().to_string();
        let has_head = store.has(&format!("{beside}{}.weight", outer.head));
        let head = if has_head { beside } else { String::new() };
        Ok(Self {
            store,
            backend,
            is_gguf: false,
            decoder,
            stack,
            head,
            outer,
            outer_biases: Some(match config.has_head_bias {
                Some(false) => OUTER_NORMS,
                _ => family.outer_biases,
            }),
        })
    }

    /// Those of a GGUF file, under the usual names; [`named_as`](Self::named_as) takes the family's.
    pub fn gguf(store: TensorStore, backend: Backend) -> Self {
        let outer = &OuterNames::GGUF;
        let (decoder, stack, head) = (String::new(), outer.stack.into(), String::new());
        Self { store, backend, is_gguf: true, decoder, stack, head, outer, outer_biases: None }
    }

    /// The same with the names of a family's GGUF files.
    pub fn named_as(self, family: &Family) -> Self {
        if self.is_gguf { Self { outer: family.gguf.outer, ..self } } else { self }
    }

    pub fn is_gguf(&self) -> bool {
        self.is_gguf
    }

    /// What precedes the names inside the decoder.
    pub fn decoder(&self) -> &str {
        &self.decoder
    }

    /// Whether the files have the weight of a module of another part of the model than the decoder: one whose name begins with
    /// the same segment and ends alike. transformers leaves out segments in between (`vision_tower.vision_model.encoder`).
    pub fn has_elsewhere(&self, module: &str) -> bool {
        let Some((part, inside)) = module.split_once('.') else { return false };
        let ending = format!(".{inside}.weight");
        self.store.iter().any(|(name, _)| name.ends_with(&ending) && name.split('.').any(|segment| segment == part))
    }

    /// What precedes the names inside layer `layer`.
    pub fn layer_prefix(&self, layer: usize) -> String {
        format!("{}{}.{layer}.", self.decoder, self.stack)
    }

    /// The name of a module outside the layers; `None` if the family has no such module.
    fn outside_module(&self, outside: Outside) -> Option<String> {
        let prefix = if outside == Outside::Head { &self.head } else { &self.decoder };
        self.outer.name(outside).map(|name| format!("{prefix}{name}"))
    }

    /// The name of a tensor outside the layers, if the files have it.
    pub fn outside(&self, outside: Outside, part: &str) -> Option<String> {
        let name = format!("{}.{part}", self.outside_module(outside)?);
        self.store.has(&name).then_some(name)
    }

    /// The name of the bias of a module outside the layers, if it has one.
    pub fn outside_bias(&self, outside: Outside) -> Option<String> {
        let has_bias = self.outer_biases.is_none_or(|biases| biases.contains(&outside));
        self.outside(outside, "bias").filter(|_| has_bias)
    }

    fn outside_weight(&self, outside: Outside) -> String {
        format!("{}.weight", self.outside_module(outside).unwrap_or_default())
    }

    /// The head is a tensor of its own, or the embedding if the files have none. As in transformers 5, a head in the files
    /// counts even if the configuration ties it.
    pub fn head_name(&self) -> String {
        self.outside(Outside::Head, "weight").unwrap_or_else(|| self.outside_weight(Outside::Embedding))
    }

    /// Whether the head is the embedding: the same tensor, or a copy of it that the configuration ties.
    pub fn has_tied_head(&self, config: &ModelConfig) -> bool {
        let (head, embedding) = (self.head_name(), self.outside_weight(Outside::Embedding));
        head == embedding || config.tied == Some(true) && self.store.are_same(&head, &embedding)
    }

    /// The tokens that have an embedding.
    pub fn vocab_size(&self) -> Result<usize> {
        self.store.height(&self.outside_weight(Outside::Embedding))
    }

    /// The tokens that have logits: more or fewer than have embeddings in some multimodal models.
    pub fn head_size(&self) -> Result<usize> {
        self.store.height(&self.head_name())
    }

    /// The embeddings of `ids`: (ids, hidden).
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.store.rows_of(&self.outside_weight(Outside::Embedding), ids, self.device())
    }

    /// The learned embeddings of positions, (positions, hidden), if the model has them.
    pub fn embed_positions(&self, positions: &[u32]) -> Result<Option<Tensor>> {
        let name = self.outside(Outside::Positions, "weight");
        name.map(|name| self.store.rows_of(&name, positions, self.device())).transpose()
    }

    /// The norm of the embeddings, if the model has one.
    pub fn embedding_norm(&self, config: &ModelConfig) -> Result<Option<Norm>> {
        if config.family.outer.embedding_norm.is_some() && !config.family.norms.have_weights() {
            return self.norm("", None, config, config.family.norms).map(Some);
        }
        let name = self.outside(Outside::EmbeddingNorm, "weight");
        name.map(|name| self.norm(&name, self.outside_bias(Outside::EmbeddingNorm), config, config.family.norms))
            .transpose()
    }

    /// Rows `rows` of the matrix of a module outside the layers.
    pub fn outside_rows(&self, outside: Outside, rows: Range<usize>) -> Result<Linear> {
        let weight = self.store.load_rows(&self.outside_weight(outside), rows, self.device())?;
        Ok(Linear::new(weight, None, self.backend.arithmetic)?)
    }

    /// The weight of a map of a list outside the layers.
    pub fn listed_name(&self, list: &str, place: usize) -> String {
        format!("{}{list}.{place}.weight", self.decoder)
    }

    /// A map of a list outside the layers.
    pub fn listed(&self, list: &str, place: usize) -> Result<Linear> {
        let weight = self.store.load(&self.listed_name(list, place), self.device())?;
        Ok(Linear::new(weight, None, self.backend.arithmetic)?)
    }

    /// The names of the weights of all such maps.
    fn listed_names(&self, config: &ModelConfig) -> Vec<String> {
        let places = 0..config.altup.map_or(0, |sizes| sizes.states - 1);
        places.flat_map(|place| ALTUP_MAPS.map(|list| self.listed_name(list, place))).collect()
    }

    /// A norm outside the layers.
    pub fn outside_norm(&self, outside: Outside, config: &ModelConfig) -> Result<Norm> {
        self.norm(&self.outside_weight(outside), self.outside_bias(outside), config, config.family.norms)
    }

    /// The inputs of all layers that `ids` have as tokens, scaled: (ids, layers · size); `None` if layers have no inputs of their own.
    pub fn embed_per_layer(&self, config: &ModelConfig, ids: &[u32]) -> Result<Option<Tensor>> {
        let Some(sizes) = config.per_layer else { return Ok(None) };
        // Tokens beyond the table have the row of the first.
        let ids: Vec<u32> = ids.iter().map(|&id| if (id as usize) < sizes.vocab_size { id } else { 0 }).collect();
        let rows = self.store.rows_of(&self.outside_weight(Outside::LayerEmbedding), &ids, self.device())?;
        Ok(Some((rows * (sizes.size as f64).sqrt())?))
    }

    pub fn final_norm(&self, config: &ModelConfig) -> Result<Norm> {
        self.outside_norm(Outside::FinalNorm, config)
    }

    /// Rows `rows` of the head, (rows, hidden), in f32 or as they are stored if the arithmetic takes that.
    pub fn head(&self, rows: Range<usize>) -> Result<Tensor> {
        match self.backend.takes_bf16() {
            true => Ok(self.store.load_narrow(&self.head_name(), Some(rows))?.to_device(self.device())?),
            false => self.store.load_rows(&self.head_name(), rows, self.device()),
        }
    }

    /// The bias of the head, (vocabulary), if the model has one.
    pub fn head_bias(&self) -> Result<Option<Tensor>> {
        let name = self.outside_bias(Outside::Head);
        name.map(|name| self.store.load(&name, self.device())).transpose()
    }

    /// A norm from the names of its weight and of its bias, if it has one.
    fn norm(&self, name: &str, bias: Option<String>, config: &ModelConfig, norms: Norms) -> Result<Norm> {
        if !norms.have_weights() {
            let weight = Tensor::ones(config.hidden_size, DType::F32, self.device())?;
            return Ok(Norm { weight, bias: None, norms, eps: config.norm_eps });
        }
        let stored = self.store.load(name, self.device())?;
        // llama.cpp's converter has added the 1 already.
        let weight = if self.is_gguf { stored } else { norm_factor(stored, norms)? };
        let bias = bias.map(|bias| self.store.load(&bias, self.device())).transpose()?;
        Ok(Norm { weight, bias, norms, eps: config.norm_eps })
    }

    /// LongRoPE's divisors in a GGUF file: those of short and those of long sequences.
    pub fn longrope_factors(&self) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
        const SHORT: &str = "rope_factors_short.weight";
        let load =
            |name| -> Result<Vec<f64>> { Ok(self.store.load_finite(name)?.into_iter().map(f64::from).collect()) };
        if !self.store.has(SHORT) {
            return Ok(None);
        }
        Ok(Some((load(SHORT)?, load("rope_factors_long.weight")?)))
    }

    /// Llama 3's rope scaling in a GGUF file: divisors of the frequencies.
    pub fn rope_divisors(&self) -> Result<Option<Vec<f32>>> {
        const NAME: &str = "rope_freqs.weight";
        let has_divisors = self.is_gguf() && self.store.has(NAME);
        has_divisors.then(|| self.store.load_finite(NAME)).transpose()
    }

    fn device(&self) -> &Device {
        &self.backend.device
    }
}

/// What values are multiplied by, from a norm's weight as Hugging Face models and all adapters have it.
pub fn norm_factor(weight: Tensor, norms: Norms) -> TensorResult<Tensor> {
    if matches!(norms, Norms::RmsPlusOne | Norms::LayerPlusOne) { weight + 1.0 } else { Ok(weight) }
}
