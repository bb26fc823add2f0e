//! What an adapter does outside the decoder layers, at the model's two ends: embedding, final norm and head.
//!
//! These parts belong to no layer, so they are kept and active at every boundary.

use std::collections::BTreeSet;
use std::ops::Range;

use candle_core::Tensor;

use super::Model;
use super::linear::{Linear, Norm};
use super::weights::Outside;
use crate::adapter::names::{Part, is_of_tower};
use crate::adapter::{Adapter, Delta};
use crate::error::{AdapterError, Result};

/// The ends of a model with an adapter on.
pub struct AdaptedModel<'a> {
    model: &'a Model,
    adapter: &'a Adapter,
    embedding: End<'a>,
    head: End<'a>,
    embedding_norm: Option<Norm>,
    final_norm: Norm,
    head_bias: Option<Tensor>,
    /// Whether the adapter changes nothing here.
    is_plain: bool,
}

/// What an adapter does to an embedding or a head.
#[derive(Default)]
struct End<'a> {
    /// The tensor of the adapter that takes the place of the weight.
    saved: Option<&'a str>,
    /// Outputs are the hidden values of an embedding, the words of a head.
    delta: Option<Delta>,
    /// DoRA on an embedding: what each of the hidden values is multiplied with, (hidden).
    factor: Option<Tensor>,
    /// Rows that are replaced: (tokens, hidden).
    tokens: Option<(Vec<usize>, Tensor)>,
}

impl<'a> AdaptedModel<'a> {
    /// Reads what an adapter has outside the layers. Anything there that the model does not have is an error, but for
    /// the towers of multimodal models, which text does not go through.
    pub fn load(model: &'a Model, adapter: &'a Adapter) -> Result<Self> {
        let (mut embedding, mut head) = (End::default(), End::default());
        let mut final_norm = model.weights.final_norm(&model.config, &model.device)?;
        let mut embedding_norm = model.weights.embedding_norm(&model.config, &model.device)?;
        let mut head_bias = model.weights.head_bias(&model.device)?;
        let mut is_plain = true;
        let is_tied = model.weights.has_tied_head(&model.config);
        let saved = adapter.saved_modules();
        let is_shared = |module: &str, part: Part| part == Part::BaseCopy || !saved.contains(module);
        for module in adapter.modules().values() {
            let end = match model.outside(&module.name) {
                Some(Outside::Embedding) => &mut embedding,
                Some(Outside::Head) => &mut head,
                _ if module.layer.is_some() || is_of_tower(&module.name) => continue,
                _ => return Err(unsupported(adapter, &format!("module `{}`", module.name))),
            };
            is_plain = false;
            let rows = |part: Part| module.tensor(part).map(|name| adapter.load(name, &model.device)).transpose();
            end.delta = match (rows(Part::EmbeddingA)?, rows(Part::EmbeddingB)?) {
                // The tokens are the inputs of an embedding's pair.
                (Some(a), Some(b)) => {
                    let delta = Delta::low_rank(a, b, adapter.config.scaling_of(&module.name));
                    Some(delta.with_magnitude(rows(Part::Magnitude)?))
                }
                _ => adapter.load_delta(module, &model.device)?,
            };
        }
        for tensor in adapter.tensors().filter(|tensor| !tensor.key.is_wrapped()) {
            let module = &tensor.key.module;
            if adapter.layer_of(module).is_some() || is_of_tower(module) {
                continue;
            }
            is_plain = false;
            let is_bias = tensor.name.ends_with(".bias");
            let load = || adapter.load(tensor.name, &model.device);
            match (model.outside(module), tensor.key.part) {
                (Some(Outside::Embedding), Part::Tokens) => {
                    embedding.tokens = Some((adapter.config.tokens_of(module, true), load()?));
                }
                (Some(Outside::Head), Part::Tokens) => {
                    head.tokens = Some((adapter.config.tokens_of(module, false), load()?));
                }
                (Some(Outside::Head), _) if is_bias => head_bias = Some(load()?),
                (Some(Outside::FinalNorm), _) if is_bias => final_norm.bias = Some(load()?),
                (Some(Outside::FinalNorm), _) => {
                    final_norm.weight = model.weights.norm_factor(load()?, &model.config)?;
                }
                (Some(Outside::Embedding), part) => {
                    embedding.saved = Some(tensor.name);
                    // What PEFT did not make a module of its own is loaded into the weight that both share.
                    if is_tied && is_shared(module, part) {
                        head.saved = head.saved.or(Some(tensor.name));
                    }
                }
                (Some(Outside::Head), part) => {
                    head.saved = Some(tensor.name);
                    if is_tied && is_shared(module, part) {
                        embedding.saved = embedding.saved.or(Some(tensor.name));
                    }
                }
                (Some(Outside::EmbeddingNorm), _) => {
                    let norm = embedding_norm.as_mut().ok_or_else(|| unsupported(adapter, tensor.name))?;
                    if is_bias { norm.bias = Some(load()?) } else { norm.weight = load()? }
                }
                _ => return Err(unsupported(adapter, &format!("the tensor `{}`", tensor.name))),
            }
        }
        // Trained tokens of a tied embedding are those of the head.
        if is_tied && head.tokens.is_none() {
            head.tokens = embedding.tokens.clone();
        }
        if is_tied && adapter.config.flag("ensure_weight_tying") {
            tie(&mut embedding, &mut head);
        }
        let mut ends = Self { model, adapter, embedding, head, embedding_norm, final_norm, head_bias, is_plain };
        ends.check()?;
        ends.check_modules()?;
        ends.embedding.factor = ends.embedding_factor()?;
        Ok(ends)
    }

    fn check(&self) -> Result<()> {
        let hidden = self.model.config.hidden_size;
        for name in [self.embedding.saved, self.head.saved].into_iter().flatten() {
            let rows = self.adapter.weights.entry(name)?.shape.first().copied().unwrap_or(0);
            self.adapter.weights.entry_of_shape(name, &[rows, hidden])?;
        }
        for (tokens, rows) in [&self.embedding.tokens, &self.head.tokens].into_iter().flatten() {
            let unique: BTreeSet<&usize> = tokens.iter().collect();
            let is_known = unique.last().is_none_or(|&&last| last < self.model.config.vocab_size);
            if rows.dims() != [tokens.len(), hidden] || unique.len() != tokens.len() || !is_known {
                let feature = "`trainable_token_indices` that do not fit its tensor or the vocabulary";
                return Err(unsupported(self.adapter, feature));
            }
        }
        for tensor in self.adapter.tensors().filter(|tensor| tensor.key.part == Part::Saved) {
            let size = match self.model.outside(&tensor.key.module) {
                Some(Outside::FinalNorm | Outside::EmbeddingNorm) => hidden,
                Some(Outside::Head) if tensor.name.ends_with(".bias") => self.words()?,
                _ => continue,
            };
            self.adapter.weights.entry_of_shape(tensor.name, &[size])?;
        }
        Ok(())
    }

    /// Checks the sizes of what is added to embedding and head.
    fn check_modules(&self) -> Result<()> {
        let hidden = self.model.config.hidden_size;
        for module in self.adapter.modules().values() {
            let shape = match self.model.outside(&module.name) {
                Some(Outside::Embedding) => (self.vocab_size()?, hidden),
                Some(Outside::Head) => (hidden, self.words()?),
                _ => continue,
            };
            self.model.check_module(self.adapter, module, shape)?;
        }
        Ok(())
    }

    /// DoRA on an embedding (PEFT's `DoraEmbeddingLayer`): the magnitude over the norm of each column of W + ΔW, which
    /// runs over the whole vocabulary.
    fn embedding_factor(&self) -> Result<Option<Tensor>> {
        const CHUNK: usize = 4096;
        let magnitude = self.embedding.delta.as_ref().and_then(Delta::magnitude);
        let Some(magnitude) = magnitude else { return Ok(None) };
        let words: Vec<u32> = (0..self.vocab_size()? as u32).collect();
        let mut squares = magnitude.zeros_like()?;
        for words in words.chunks(CHUNK) {
            squares = (squares + self.embed(words)?.sqr()?.sum(0)?)?;
        }
        Ok(Some((magnitude / squares.sqrt()?)?))
    }

    /// The words that have an embedding.
    pub fn vocab_size(&self) -> Result<usize> {
        match self.embedding.saved {
            Some(name) => Ok(self.adapter.weights.entry(name)?.shape[0]),
            None => Ok(self.model.config.vocab_size),
        }
    }

    /// The embeddings of `ids`, not yet scaled: (ids, hidden).
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let device = &self.model.device;
        let mut embedded = match self.embedding.saved {
            Some(name) => self.adapter.weights.rows_of(name, ids, device)?,
            None => self.model.weights.embed(ids, device)?,
        };
        if let Some((tokens, rows)) = &self.embedding.tokens {
            for (place, id) in ids.iter().enumerate() {
                if let Some(row) = tokens.iter().position(|&token| token == *id as usize) {
                    embedded = embedded.slice_assign(&[place..place + 1, 0..rows.dim(1)?], &rows.narrow(0, row, 1)?)?;
                }
            }
        }
        if let Some(delta) = &self.embedding.delta {
            embedded = (embedded + delta.of_inputs(ids)?)?;
        }
        match &self.embedding.factor {
            Some(factor) => Ok(embedded.broadcast_mul(factor)?),
            None => Ok(embedded),
        }
    }

    pub fn model(&self) -> &Model {
        self.model
    }

    pub fn adapter(&self) -> &Adapter {
        self.adapter
    }

    /// Whether the adapter changes nothing outside the layers, so that below its lowest one it is the base model.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub fn embedding_norm(&self) -> Option<&Norm> {
        self.embedding_norm.as_ref()
    }

    pub fn final_norm(&self) -> &Norm {
        &self.final_norm
    }

    /// The words that have logits.
    pub fn words(&self) -> Result<usize> {
        match self.head.saved {
            Some(name) => Ok(self.adapter.weights.entry(name)?.shape[0]),
            None => self.model.weights.head_size(),
        }
    }

    /// The rows `words` of the head.
    pub fn head(&self, words: Range<usize>) -> Result<Linear> {
        let (device, arithmetic) = (&self.model.device, self.model.arithmetic);
        let mut weight = match self.head.saved {
            Some(name) => self.adapter.weights.load_rows(name, words.clone(), device)?,
            None => self.model.weights.head(words.clone(), (device, arithmetic))?,
        };
        if let Some((tokens, rows)) = &self.head.tokens {
            weight = weight.to_dtype(rows.dtype())?;
            for (row, &token) in tokens.iter().enumerate().filter(|(_, token)| words.contains(token)) {
                let place = token - words.start;
                weight = weight.slice_assign(&[place..place + 1, 0..rows.dim(1)?], &rows.narrow(0, row, 1)?)?;
            }
        }
        let part = |tensor: &Tensor| tensor.narrow(0, words.start, words.len());
        let bias = self.head_bias.as_ref().map(part).transpose()?;
        let head = Linear::new(weight, bias, arithmetic)?;
        match &self.head.delta {
            Some(delta) => Ok(head.adapted(&delta.outputs(|b| part(b)?.contiguous())?)?),
            None => Ok(head),
        }
    }
}

/// Puts what one end has on the other, too (PEFT's `ensure_weight_tying`): the head's pair is that of the embedding,
/// transposed.
fn tie<'a>(embedding: &mut End<'a>, head: &mut End<'a>) {
    embedding.saved = embedding.saved.or(head.saved);
    head.saved = head.saved.or(embedding.saved);
    match (&embedding.delta, &head.delta) {
        (Some(delta), None) => head.delta = delta.transposed(),
        (None, Some(delta)) => embedding.delta = delta.transposed(),
        _ => {}
    }
}

fn unsupported(adapter: &Adapter, feature: &str) -> crate::Error {
    AdapterError::CannotEvaluate { path: adapter.path.clone(), feature: feature.into() }.into()
}
