//! Which weight of the base model a tensor of an adapter replaces, as the files of the base model store it.

use super::Model;
use super::applied::Place;
use super::family::Outside;
use crate::adapter::{Adapter, AdapterTensor};
use crate::tensors::TensorStore;

/// Whether the embedding of a model is its head, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    Tied,
    Untied,
    /// The files and the configuration do not say the same, or too little.
    Unclear,
}

/// The embedding and the head: the weights with a row for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingOrHead {
    Embedding,
    Head,
}

impl Model {
    /// The stored weights.
    pub fn store(&self) -> &TensorStore {
        &self.weights.store
    }

    /// The name in the files of the weight that a tensor of an adapter replaces; `None` if the files have none under a name that is
    /// known.
    pub fn replaced(&self, adapter: &Adapter, tensor: &AdapterTensor) -> Option<String> {
        let module = &tensor.key.module;
        let part = tensor.name.rsplit('.').next().filter(|part| matches!(*part, "weight" | "bias"))?;
        match self.place(adapter, module) {
            Place::Layer(layer) if !self.weights.is_gguf() => {
                let inside = adapter.inside_layer(module, layer);
                let name = format!("{}{inside}.{part}", self.weights.layer_prefix(layer));
                self.weights.store.has(&name).then_some(name)
            }
            Place::Outside(Outside::Head) if part == "weight" => Some(self.weights.head_name()),
            // llama.cpp's converter changes the values of some norms.
            Place::Outside(outside) if outside == Outside::Embedding || !self.weights.is_gguf() => {
                self.weights.outside(outside, part)
            }
            Place::Layer(_) | Place::Outside(_) | Place::Elsewhere | Place::Nowhere => None,
        }
    }

    /// Whether a module of an adapter is the embedding or the head of this model.
    pub fn vocabulary(&self, adapter: &Adapter, module: &str) -> Option<EmbeddingOrHead> {
        match self.place(adapter, module) {
            Place::Outside(Outside::Embedding) => Some(EmbeddingOrHead::Embedding),
            Place::Outside(Outside::Head) => Some(EmbeddingOrHead::Head),
            _ => None,
        }
    }

    /// Whether PEFT takes the embedding for the head: by the configuration, which a GGUF file does not have.
    pub fn tie(&self) -> Tie {
        match (self.config.tied, self.weights.has_tied_head(&self.config)) {
            _ if self.weights.is_gguf() => Tie::Unclear,
            (Some(true) | None, true) => Tie::Tied,
            (Some(false), false) => Tie::Untied,
            _ => Tie::Unclear,
        }
    }

    /// Whether the head adds a bias.
    pub fn has_head_bias(&self) -> bool {
        self.weights.outside_bias(Outside::Head).is_some()
    }
}
