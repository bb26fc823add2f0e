//! Embeddings, heads and tokens of an adapter that the base model has no rows for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flaws::Flaw;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, is_vocabulary};

impl Adapter {
    /// Where the adapter has another number of tokens than the base model, which has `base`.
    pub fn vocabulary_flaws(&self, base: usize) -> Vec<Flaw> {
        let mut modules: BTreeMap<usize, &str> = BTreeMap::new();
        for tensor in self.tensors().filter(|tensor| is_vocabulary(&tensor.key.module)) {
            if let Some(rows) = rows(&tensor).filter(|&rows| rows != base) {
                modules.entry(rows).or_insert(&tensor.key.module);
            }
        }
        let sizes = modules.into_iter().map(|(rows, module)| Flaw::Vocabulary { module: module.into(), rows, base });
        let beyond = self.trained_tokens().into_iter().max().filter(|&token| token >= base);
        sizes.chain(beyond.map(|token| Flaw::TokenBeyond { token, base })).collect()
    }

    /// The tokens of `trainable_token_indices`, of all modules together.
    fn trained_tokens(&self) -> Vec<usize> {
        let lists: Vec<&Value> = match self.config.raw.get("trainable_token_indices") {
            Some(Value::Object(modules)) => modules.values().collect(),
            tokens => tokens.into_iter().collect(),
        };
        let tokens = lists.into_iter().filter_map(Value::as_array).flatten();
        tokens.filter_map(Value::as_u64).map(|token| token as usize).collect()
    }
}

/// The tokens that a tensor of an embedding or a head has a row or a column for.
fn rows(tensor: &AdapterTensor) -> Option<usize> {
    let dimension = match tensor.key.part {
        Part::Saved | Part::BaseCopy | Part::LoraB => 0,
        Part::EmbeddingA => 1,
        _ => return None,
    };
    tensor.entry.shape.get(dimension).copied()
}
