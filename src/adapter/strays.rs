//! Tensors of the weights that are no part of the adapter as its configuration describes it.
//!
//! PEFT loads the tensors whose names are those of parameters of the adapted model, and ignores the others: optimizer states, values
//! beside a weight (`….exp_avg`), a plain `weight` of a module that is wrapped (its name is `base_layer.weight` then). It does load a
//! tensor with the name of one of the base model's weights, even if the configuration says nothing of it.

use std::collections::BTreeSet;

use super::names::{Key, Part};
use super::targets::last_segment;
use super::{AdapterConfig, Method};
use crate::format::first_names;

/// The tensors that are not what the configuration describes.
#[derive(Debug, Default, PartialEq)]
pub struct Strays {
    /// PEFT does not load them.
    pub ignored: Vec<String>,
    /// PEFT loads them in place of weights of the base model.
    pub unannounced: Vec<String>,
}

impl Strays {
    /// `keys` are the names of all tensors, each also taken apart.
    pub fn find<'a>(keys: impl IntoIterator<Item = (&'a str, Key)>, config: &AdapterConfig) -> Self {
        let keys: Vec<(&str, Key)> = keys.into_iter().collect();
        let wrapped = || keys.iter().filter(|(_, key)| key.is_wrapped());
        let adapter = AdapterNames {
            config,
            wrapped: wrapped().map(|(_, key)| key.module.as_str()).collect(),
            has_prefix: wrapped().any(|(_, key)| !key.spelling.lacks_prefix),
        };
        let mut strays = Self::default();
        for (name, key) in &keys {
            if adapter.is_ignored(name, key) {
                strays.ignored.push(name.to_string());
            } else if !adapter.is_announced(name, key) {
                strays.unannounced.push(name.to_string());
            }
        }
        strays
    }

    /// One sentence on each kind.
    pub fn remarks(&self) -> Vec<String> {
        let sentence =
            |names: &[String], what: &str| (!names.is_empty()).then(|| format!("{} {what}", first_names(names, 3)));
        let ignored = "in the weights: PEFT does not load this, and lora-slim neither uses nor writes it";
        let unannounced = "in the weights: adapter_config.json does not announce this (`modules_to_save`, `bias`); PEFT loads it \
                           in place of the base model's weight of that name, if there is one, and so does lora-slim";
        [sentence(&self.ignored, ignored), sentence(&self.unannounced, unannounced)].into_iter().flatten().collect()
    }
}

/// What the names of an adapter's tensors show together.
struct AdapterNames<'a> {
    config: &'a AdapterConfig,
    /// The modules with tensors of the method.
    wrapped: BTreeSet<&'a str>,
    /// Whether the names are PEFT's, with its prefix.
    has_prefix: bool,
}

impl AdapterNames<'_> {
    fn is_ignored(&self, name: &str, key: &Key) -> bool {
        match key.part {
            Part::Tokens => !self.config.flag("trainable_token_indices"),
            // The base model's own, in a model in memory.
            Part::Saved if name.contains(".original_module.") => true,
            Part::Saved if self.has_prefix && key.spelling.lacks_prefix => true,
            Part::Saved => {
                !name.contains(".base_layer.") && self.is_of_wrapped(&key.module) && !self.is_saved(name, &key.module)
            }
            _ => false,
        }
    }

    /// Whether a module is wrapped, or lies in one that is.
    fn is_of_wrapped(&self, module: &str) -> bool {
        let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
        ends.into_iter().any(|end| self.wrapped.contains(&module[..end]))
    }

    fn is_announced(&self, name: &str, key: &Key) -> bool {
        // PEFT stores embedding and head beside the adapter where tokens may have been added (`save_embedding_layers`).
        let is_vocabulary = || is_vocabulary(&key.module);
        match key.part {
            Part::Saved => {
                self.is_saved(name, &key.module)
                    || is_vocabulary()
                    || name.ends_with(".bias") && self.config.text("bias").is_some_and(|bias| bias != "none")
                    || self.config.method == Method::Vera && matches!(last_segment(name), "vera_A" | "vera_B")
            }
            Part::BaseCopy => is_vocabulary(),
            _ => true,
        }
    }

    /// Whether `modules_to_save` names the module, or one that contains it.
    fn is_saved(&self, name: &str, module: &str) -> bool {
        name.contains(".modules_to_save") || self.config.saved_ancestor(module).is_some()
    }
}

/// Whether a module is an embedding or a head, by the last segment of its name.
pub fn is_vocabulary(module: &str) -> bool {
    matches!(last_segment(module), "embed_tokens" | "lm_head" | "wte" | "word_embeddings" | "embed_in" | "embed_out")
}
