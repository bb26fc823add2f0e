//! A base model with an adapter on, as far as that is outside the decoder layers: embedding, norms and head.
//!
//! These parts belong to no layer, so they are kept and active at every boundary. `embedding.rs` and `head.rs` use them.

use std::collections::{BTreeSet, HashMap};

use candle_core::Tensor;

use super::Model;
use super::altup::AltUpMaps;
use super::applied::Place;
use super::family::Outside;
use super::linear::Norm;
use super::weights::norm_factor;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, Delta};
use crate::error::{AdapterError, Result};

/// A base model with one adapter's parts outside the layers.
pub struct AdaptedModel<'a> {
    model: &'a Model,
    adapter: &'a Adapter,
    pub(super) embedding: TokenTable<'a>,
    pub(super) head: TokenTable<'a>,
    pub(super) embedding_norm: Option<Norm>,
    /// In models whose tokens have several hidden states.
    pub(super) altup: Option<AltUpMaps>,
    pub(super) final_norm: Norm,
    pub(super) head_bias: Option<Tensor>,
    /// Whether the adapter changes nothing here.
    is_plain: bool,
}

/// What an adapter changes of the embedding or the head, which both have one row for each token.
#[derive(Default)]
pub(super) struct TokenTable<'a> {
    /// The tensor of the adapter that replaces the weight.
    pub saved: Option<&'a str>,
    /// Its outputs are the hidden values for an embedding, the tokens for a head.
    pub delta: Option<Delta>,
    /// DoRA on an embedding: what each of the hidden values is multiplied by, (hidden).
    pub factor: Option<Tensor>,
    pub rows: Option<TrainedRows>,
}

/// Rows that replace those of the weight, or follow its last.
#[derive(Clone)]
pub(super) struct TrainedRows {
    pub tokens: Vec<usize>,
    /// (tokens, hidden)
    pub rows: Tensor,
}

impl TrainedRows {
    /// The rows of a weight of so many rows, with these in it.
    pub fn height(&self, weight: usize) -> usize {
        self.tokens.iter().map(|token| token + 1).fold(weight, usize::max)
    }

    /// The rows of `ids`: the trained ones, and for the others those at their places in `rows`, (ids or fewer, hidden).
    pub fn replace(&self, ids: impl Iterator<Item = usize>, rows: &Tensor) -> Result<Tensor> {
        let places: HashMap<usize, usize> =
            self.tokens.iter().enumerate().map(|(place, &token)| (token, place)).collect();
        let untrained = rows.dim(0)?;
        let place = |(at, id): (usize, usize)| places.get(&id).map_or(at, |place| untrained + place) as u32;
        let index = Tensor::from_iter(ids.enumerate().map(place), rows.device())?;
        Ok(Tensor::cat(&[&rows.to_dtype(self.rows.dtype())?, &self.rows], 0)?.index_select(&index, 0)?)
    }
}

impl<'a> AdaptedModel<'a> {
    /// Reads what an adapter has outside the layers. A part that the model does not have is an error, except for the towers
    /// of multimodal models, which text does not go through.
    pub fn load(model: &'a Model, adapter: &'a Adapter) -> Result<Self> {
        let weights = &model.weights;
        let mut adapted = Self {
            model,
            adapter,
            embedding: TokenTable::default(),
            head: TokenTable::default(),
            embedding_norm: weights.embedding_norm(&model.config)?,
            altup: AltUpMaps::load(weights, &model.config)?,
            final_norm: weights.final_norm(&model.config)?,
            head_bias: weights.head_bias()?,
            is_plain: true,
        };
        let is_tied = weights.has_tied_head(&model.config);
        adapted.add_pairs()?;
        for tensor in adapter.tensors().filter(|tensor| !tensor.key.is_wrapped()) {
            adapted.add_saved(tensor, is_tied)?;
        }
        if is_tied {
            adapted.tie();
        }
        adapted.check()?;
        adapted.embedding.factor = adapted.embedding_factor()?;
        Ok(adapted)
    }

    /// Adds the low-rank pairs of embedding and head.
    fn add_pairs(&mut self) -> Result<()> {
        let (adapter, device) = (self.adapter, self.model.device());
        for module in adapter.modules().values() {
            let table = match self.model.place(adapter, &module.name) {
                Place::Outside(Outside::Embedding) => &mut self.embedding,
                Place::Outside(Outside::Head) => &mut self.head,
                // PEFT drops what is nowhere, and so do the losses.
                Place::Layer(_) | Place::Elsewhere | Place::Nowhere => continue,
                Place::Outside(_) => return Err(unsupported(adapter, &format!("module `{}`", module.name))),
            };
            self.is_plain = false;
            let load = |part: Part| module.tensor(part).map(|name| adapter.load(name, device)).transpose();
            table.delta = match (load(Part::EmbeddingA)?, load(Part::EmbeddingB)?) {
                // The inputs of an embedding's pair are the tokens.
                (Some(a), Some(b)) => {
                    let delta = Delta::low_rank(a, b, adapter.config.scaling_of(&module.name));
                    Some(delta.with_magnitude(load(Part::Magnitude)?))
                }
                _ => adapter.load_delta(module, device)?,
            };
        }
        Ok(())
    }

    /// Adds a tensor that replaces one of the model's, or some of its rows.
    fn add_saved(&mut self, tensor: AdapterTensor<'a>, is_tied: bool) -> Result<()> {
        let (model, adapter, module) = (self.model, self.adapter, &tensor.key.module);
        let place = match model.place(adapter, module) {
            Place::Layer(_) | Place::Elsewhere => return Ok(()),
            // The copy of the weight of a module that PEFT drops.
            Place::Nowhere if tensor.key.part == Part::BaseCopy => return Ok(()),
            Place::Nowhere => None,
            Place::Outside(outside) => Some(outside),
        };
        self.is_plain = false;
        let is_bias = tensor.name.ends_with(".bias");
        let load = || adapter.load(tensor.name, model.device());
        let rows = |is_embedding: bool| -> Result<Option<TrainedRows>> {
            Ok(Some(TrainedRows { tokens: adapter.config.tokens_of(module, is_embedding), rows: load()? }))
        };
        // PEFT loads a tensor that is not of a module of its own into the weight that both tables share.
        let is_shared = is_tied && (tensor.key.part == Part::BaseCopy || !adapter.saved_modules().contains(module));
        let shared = is_shared.then_some(tensor.name);
        match (place, tensor.key.part) {
            (Some(Outside::Embedding), Part::Tokens) => self.embedding.rows = rows(true)?,
            (Some(Outside::Head), Part::Tokens) => self.head.rows = rows(false)?,
            (Some(Outside::Head), _) if is_bias => self.head_bias = Some(load()?),
            (Some(Outside::FinalNorm), _) if is_bias => self.final_norm.bias = Some(load()?),
            (Some(Outside::FinalNorm), _) => {
                self.final_norm.weight = norm_factor(load()?, model.config.family.norms)?;
            }
            (Some(Outside::Embedding), _) => {
                self.embedding.saved = Some(tensor.name);
                self.head.saved = self.head.saved.or(shared);
            }
            (Some(Outside::Head), _) => {
                self.head.saved = Some(tensor.name);
                self.embedding.saved = self.embedding.saved.or(shared);
            }
            (Some(Outside::EmbeddingNorm), _) => {
                let norm = self.embedding_norm.as_mut().ok_or_else(|| unsupported(adapter, tensor.name))?;
                if is_bias { norm.bias = Some(load()?) } else { norm.weight = load()? }
            }
            _ => return Err(unsupported(adapter, &format!("the tensor `{}`", tensor.name))),
        }
        Ok(())
    }

    /// Lets embedding and head share what a tied model shares.
    fn tie(&mut self) {
        let (embedding, head) = (&mut self.embedding, &mut self.head);
        // Trained rows of a tied embedding are those of the head.
        if head.rows.is_none() {
            head.rows = embedding.rows.clone();
        }
        if !self.adapter.config.flag("ensure_weight_tying") {
            return;
        }
        embedding.saved = embedding.saved.or(head.saved);
        head.saved = head.saved.or(embedding.saved);
        match (&embedding.delta, &head.delta) {
            (Some(delta), None) => head.delta = delta.transposed(),
            (None, Some(delta)) => embedding.delta = delta.transposed(),
            _ => {}
        }
    }

    /// Checks the sizes of everything that was read.
    fn check(&self) -> Result<()> {
        let (weights, hidden) = (&self.adapter.weights, self.model.config.hidden_size);
        for name in [self.embedding.saved, self.head.saved].into_iter().flatten() {
            weights.entry_of_shape(name, &[weights.height(name)?, hidden])?;
        }
        let heights = [self.model.config.vocab_size, self.model.weights.head_size()?];
        for (trained, height) in [&self.embedding.rows, &self.head.rows].into_iter().zip(heights) {
            let Some(TrainedRows { tokens, rows }) = trained else { continue };
            let unique: BTreeSet<usize> = tokens.iter().copied().collect();
            // PEFT loads tokens that were added for the training on a model that was resized: each new one has to have its row.
            let has_gap = unique.range(height..).zip(height..).any(|(&token, expected)| token != expected);
            if rows.dims() != [tokens.len(), hidden] || unique.len() != tokens.len() || has_gap {
                let feature = "`trainable_token_indices` that do not fit its tensor or the vocabulary";
                return Err(unsupported(self.adapter, feature));
            }
        }
        for tensor in self.adapter.tensors().filter(|tensor| tensor.key.part == Part::Saved) {
            let size = match self.model.place(self.adapter, &tensor.key.module) {
                Place::Outside(Outside::FinalNorm | Outside::EmbeddingNorm) => hidden,
                Place::Outside(Outside::Head) if tensor.name.ends_with(".bias") => self.head_size()?,
                _ => continue,
            };
            weights.entry_of_shape(tensor.name, &[size])?;
        }
        for module in self.adapter.modules().values() {
            let shape = match self.model.place(self.adapter, &module.name) {
                Place::Outside(Outside::Embedding) => (self.vocab_size()?, hidden),
                Place::Outside(Outside::Head) => (hidden, self.head_size()?),
                _ => continue,
            };
            self.model.check_module(self.adapter, module, shape)?;
        }
        Ok(())
    }

    pub fn model(&self) -> &'a Model {
        self.model
    }

    pub fn adapter(&self) -> &'a Adapter {
        self.adapter
    }

    /// Whether the adapter changes nothing outside the layers: below its lowest layer this is then the base model.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub fn final_norm(&self) -> &Norm {
        &self.final_norm
    }
}

fn unsupported(adapter: &Adapter, feature: &str) -> crate::Error {
    AdapterError::CannotEvaluate { path: adapter.path.clone(), feature: feature.into() }.into()
}
