//! Which tensors of the files no part of the decoder is made of, so that they are named to the user.
//!
//! As in transformers, a tensor that the family and the configuration do not have is not read.

use std::collections::BTreeSet;

use super::{LayerWeights, Weights};
use crate::adapter::names::is_of_tower;
use crate::format::first_names;
use crate::model::ModelConfig;
use crate::model::family::{Outside, Role};

/// Words at the beginning of a segment in the names of layers that predict several tokens, which are not run.
const PREDICTION: [&str; 2] = ["mtp", "nextn"];

/// What a layer behind the last one has if it predicts several tokens: norms of the hidden states and of the embeddings, and the map
/// of both.
const PREDICTION_MODULES: [&str; 4] = ["eh_proj", "enorm", "hnorm", "nextn.eh_proj"];

/// The most tensors that a remark names.
const NAMED: usize = 4;

/// Endings of names of buffers: what they hold is computed from the configuration.
const BUFFERS: [&str; 7] = [
    "rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
    ".attn.causal_mask",
    ".attention.bias",
    ".attention.masked_bias",
    "position_ids",
];

/// Words in the names of what lies between a tower and the decoder, which text does not go through either.
const CONNECTORS: [&str; 10] = [
    "mlp1.",
    "mlp_AR.",
    "projector",
    "connector",
    "projection",
    "resampler",
    "perceiver",
    "qformer",
    "query_tokens",
    "merger",
];

impl Weights {
    /// Names the tensors that are not read and not known to be harmless, in one sentence.
    pub fn unread(&self, config: &ModelConfig) -> Option<String> {
        let layers = (0..config.layers).map(|index| LayerWeights { weights: self, config, index });
        let read: BTreeSet<String> =
            layers.flat_map(|layer| layer.tensors()).chain(self.tensors_outside(config)).collect();
        let skipped: Vec<String> = config.skipped.iter().map(|&layer| self.layer_prefix(layer)).collect();
        // transformers leaves out the keys of layers that read those of another layer, whatever the files have.
        let read_elsewhere: Vec<String> = (0..config.layers)
            .filter(|&layer| config.by_layer.keys_of[layer].is_some())
            .flat_map(|layer| {
                let prefix = self.layer_prefix(layer);
                let unused =
                    [Role::Key, Role::Value, Role::KeyNorm].into_iter().flat_map(|role| config.family.modules(role));
                unused.map(move |module| format!("{prefix}{module}.")).collect::<Vec<_>>()
            })
            .collect();
        let is_skipped = |name: &str| {
            read_elsewhere.iter().any(|prefix| name.starts_with(prefix))
                || skipped.iter().any(|prefix| name.starts_with(prefix))
        };
        let unread: Vec<&str> = self.store.iter().map(|(name, _)| name).filter(|name| !read.contains(*name)).collect();
        let unread: Vec<&str> = unread
            .into_iter()
            .filter(|name| !is_buffer(name) && !is_skipped(name) && !self.is_outside_text(name))
            .filter(|name| !self.is_of_prediction(name, config.layers))
            .collect();
        let (path, names) = (self.store.path().display(), first_names(&unread, NAMED));
        (!unread.is_empty()).then(|| format!("`{path}` has tensors that the model does not use: {names}"))
    }

    /// The tensors outside the layers that are read.
    fn tensors_outside(&self, config: &ModelConfig) -> impl Iterator<Item = String> {
        let modules =
            Outside::ALL.into_iter().flat_map(|outside| [self.outside(outside, "weight"), self.outside_bias(outside)]);
        // Scalings of the rotary embedding that GGUF files have as tensors.
        let factors = ["rope_freqs", "rope_factors_short", "rope_factors_long"].map(|name| format!("{name}.weight"));
        modules.flatten().chain(self.listed_names(config)).chain(factors.into_iter().filter(|_| self.is_gguf()))
    }

    /// Whether a tensor is part of what predicts several tokens: under a name that says so, or in a layer behind the last one.
    fn is_of_prediction(&self, name: &str, layers: usize) -> bool {
        let stack = format!("{}{}.", self.decoder, self.stack);
        let Some(inside) = name.strip_prefix(&stack) else {
            return name.split('.').any(|segment| PREDICTION.iter().any(|word| segment.starts_with(word)));
        };
        let layer = inside.split('.').next().and_then(|number| number.parse::<usize>().ok());
        layer.is_some_and(|layer| {
            let has = |module: &&str| self.store.has(&format!("{stack}{layer}.{module}.weight"));
            layer >= layers && PREDICTION_MODULES.iter().any(has)
        })
    }

    /// Whether a tensor lies in a tower, or between a tower and the decoder.
    fn is_outside_text(&self, name: &str) -> bool {
        let is_connector = CONNECTORS.iter().any(|word| name.contains(word));
        !name.starts_with(&format!("{}{}.", self.decoder, self.stack)) && (is_of_tower(name) || is_connector)
    }
}

fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|ending| name.ends_with(ending))
}

impl LayerWeights<'_> {
    /// The tensors of the layer that are read.
    fn tensors(&self) -> Vec<String> {
        let mut names = Vec::new();
        for role in self.roles() {
            names.extend(match role.is_norm() {
                true => self.norm_names(role).unwrap_or_default(),
                false => self.weight_names(role),
            });
            names.extend(self.bias_name(role));
        }
        names.extend(if self.config.is_sparse(self.index) { self.expert_tensors() } else { Vec::new() });
        names
    }

    fn expert_tensors(&self) -> Vec<String> {
        if self.weights.is_gguf() {
            let parts = |name: String| [Some(format!("{name}.weight")), self.expert_bias(format!("{name}.bias"))];
            return self.gguf_experts().into_iter().flat_map(parts).flatten().chain(self.gguf_gate_up()).collect();
        }
        if let Some(stacked) = self.stacked_experts() {
            let parts = |name: String| [self.expert_bias(format!("{name}_bias")), Some(name)];
            return stacked.into_iter().flat_map(parts).flatten().collect();
        }
        let count = self.config.experts.as_ref().map_or(0, |experts| experts.count);
        (0..count).filter_map(|expert| self.expert_modules(expert).ok()).flatten().collect()
    }
}
