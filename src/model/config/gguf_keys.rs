//! Typed access to the keys of an architecture in a GGUF file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::hf::NAMED;
use crate::error::{BaseError, Result};
use crate::format::first_names;
use crate::model::family::Family;
use crate::model::weights::Weights;
use crate::tensors::GgufMetadata;

/// Keys that change nothing in an evaluation: sizes that the tensors have, and settings of images and of training.
const HARMLESS: &str = "vocab_size attention.value_length rope.dimension_sections rope.scaling.finetuned \
    tensor_data_layout n_deepstack_layers";

/// Keys that only repeat what the tensors say: which layers are what, and how large.
const SAID_BY_TENSORS: &str = "feed_forward_length expert_feed_forward_length leading_dense_block_count \
    interleave_moe_layer_step full_attention_interval expert_shared_count \
    expert_shared_feed_forward_length attention.head_count_kv attention.max_alibi_bias";

/// Typed access to the keys of an architecture.
pub struct Keys<'a> {
    pub metadata: &'a GgufMetadata,
    pub architecture: &'a str,
    pub family: &'static Family,
    pub path: &'a Path,
    /// The tensors, which say what differs from layer to layer.
    pub weights: &'a Weights,
    /// The keys that were asked for.
    pub asked: RefCell<BTreeSet<String>>,
}

impl Keys<'_> {
    pub fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.architecture);
        self.asked.borrow_mut().insert(key.clone());
        key
    }

    /// Names the architecture's keys that nobody asked for.
    pub fn unread(&self) -> Option<String> {
        let asked = self.asked.borrow();
        let prefix = format!("{}.", self.architecture);
        let is_off = |key: &str| self.metadata.boolean(key) == Some(false) || self.metadata.integer(key) == Some(0);
        let is_harmless =
            |name: &str| [HARMLESS, SAID_BY_TENSORS].iter().any(|keys| keys.split_whitespace().any(|key| key == name));
        let names = self.metadata.keys().filter(|key| !asked.contains(*key) && !is_off(key));
        let unread: BTreeSet<&str> =
            names.filter(|key| key.strip_prefix(&prefix).is_some_and(|name| !is_harmless(name))).collect();
        let names = first_names(&unread.iter().collect::<Vec<_>>(), NAMED);
        (!unread.is_empty()).then(|| format!("`{}` has keys that are not used: {names}", self.path.display()))
    }

    pub fn missing(&self, name: &str) -> BaseError {
        self.absent(&self.key(name))
    }

    /// A missing key that is not one of the architecture.
    pub fn absent(&self, key: &str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: key.into(), problem: "is missing" }
    }

    pub fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    /// A size. One for each layer, which the format allows, is not supported.
    pub fn optional(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        match self.metadata.integer(&key) {
            Some(value) => Ok(Some(value as usize)),
            None if self.metadata.has(&key) => {
                Err(self.unsupported(format!("a `{key}` that is not one number")).into())
            }
            None => Ok(None),
        }
    }

    pub fn size(&self, name: &str) -> Result<usize> {
        self.optional(name)?.ok_or_else(|| self.missing(name).into())
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        let key = self.key(name);
        self.metadata.float(&key).or_else(|| self.metadata.integer(&key).map(|value| value as f64))
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.metadata.boolean(&self.key(name))
    }

    /// A list of flags, one for each layer.
    pub fn flags(&self, name: &str) -> Option<Vec<bool>> {
        self.metadata.booleans(&self.key(name))
    }

    /// The shape of a weight in a layer, if it is there.
    pub fn shape(&self, layer: usize, name: &str) -> Option<&[usize]> {
        let name = format!("{}{name}.weight", self.weights.layer_prefix(layer));
        self.weights.store.get(&name).map(|entry| entry.shape.as_slice())
    }

    /// Whether a layer has a tensor, by its whole name inside it.
    pub fn has(&self, layer: usize, name: &str) -> bool {
        self.weights.store.has(&format!("{}{name}", self.weights.layer_prefix(layer)))
    }
}
