//! The configuration of a GGUF file, from its metadata.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Gating, MOST_LAYERS, ModelConfig, Scales, Softcaps, ropes_by_window, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::family::{self, Family};
use crate::model::rope::{Rope, Scaling};
use crate::tensors::GgufMetadata;

impl ModelConfig {
    /// Reads the metadata of a GGUF file. The vocabulary is that of the embedding, `vocab_size`.
    pub fn from_gguf(metadata: &GgufMetadata, vocab_size: usize, path: &Path) -> Result<Self> {
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let architecture = metadata.string("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let family =
            family::by_gguf_architecture(architecture).ok_or_else(|| unsupported_family(path, architecture))?;
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str| metadata.integer(&key(name)).map(|value| value as usize);
        let size = |name: &str| optional(name).ok_or_else(|| missing(&key(name)));
        let layers = size("block_count")?;
        let hidden_size = size("embedding_length")?;
        let heads = size("attention.head_count")?;
        let context = size("context_length")?;
        let head_dim = optional("attention.key_length").unwrap_or(hidden_size / heads.max(1));
        let windows = windows(layers, optional("attention.sliding_window"), family);
        let (ropes, layer_ropes) = gguf_ropes(metadata, architecture, (context, head_dim), &windows, family, path)?;
        let number = |name: &str| metadata.float(&key(name)).or(family.default(name));
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size: size("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
            head_dim,
            vocab_size,
            context,
            norm_eps: metadata
                .float(&key("attention.layer_norm_rms_epsilon"))
                .ok_or_else(|| missing(&key("attention.layer_norm_rms_epsilon")))?,
            ropes,
            layer_ropes,
            windows,
            skipped: BTreeSet::new(),
            tied: None,
            parallel: family.parallel,
            gating: Gating::By(family.activation),
            experts: None,
            scales: Scales::plain(
                family,
                hidden_size,
                attention_size(family, layers, hidden_size, heads, head_dim).max(1),
            ),
            softcaps: Softcaps {
                attention: number("attn_logit_softcapping"),
                logits: number("final_logit_softcapping"),
            },
        };
        config.check(path)
    }
}

/// The size whose root divides the products of queries and keys: that of a head, but for the 27B models of Gemma 2 and 3,
/// which llama.cpp knows by their numbers of layers.
fn attention_size(family: &Family, layers: usize, hidden_size: usize, heads: usize, head_dim: usize) -> usize {
    let is_gemma_27b = matches!((family.model_types[0], layers), ("gemma2", 46) | ("gemma3_text", 62));
    if is_gemma_27b { hidden_size / heads.max(1) } else { head_dim }
}

/// The window of each layer. Which layers slide is not in the file.
fn windows(layers: usize, window: Option<usize>, family: &Family) -> Vec<Option<usize>> {
    let window = window.filter(|&window| window > 0);
    let pattern = family.default("sliding_window_pattern").map(|pattern| pattern as usize);
    let slides = |layer: usize| pattern.is_none_or(|pattern| !(layer + 1).is_multiple_of(pattern));
    (0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| slides(layer))).collect()
}

/// The rotary embeddings, and for each layer the place of its own.
fn gguf_ropes(
    metadata: &GgufMetadata,
    architecture: &str,
    (context, head_dim): (usize, usize),
    windows: &[Option<usize>],
    family: &Family,
    path: &Path,
) -> Result<(Vec<Rope>, Vec<Option<usize>>)> {
    let full = gguf_rope(metadata, architecture, (context, head_dim), path)?;
    let local = metadata
        .float(&format!("{architecture}.rope.freq_base_swa"))
        .or(family.default("rope_local_base_freq"))
        .map(|theta| Rope { theta, dim: full.dim, scaling: Scaling::None });
    Ok(ropes_by_window(full, local, windows))
}

/// The rope of a GGUF model. Llama 3's scaling is not in the metadata but in a tensor, `rope_freqs.weight`, which
/// [`Rope::inverse_frequencies`] is given beside this.
fn gguf_rope(
    metadata: &GgufMetadata,
    architecture: &str,
    (context, head_dim): (usize, usize),
    path: &Path,
) -> Result<Rope> {
    let number = |name: &str| {
        let key = format!("{architecture}.rope.{name}");
        metadata.float(&key).or_else(|| metadata.integer(&key).map(|value| value as f64))
    };
    let theta = number("freq_base").unwrap_or(10_000.0);
    let original_context = number("scaling.original_context_length").unwrap_or(context as f64);
    let factor = number("scaling.factor");
    let scaling = match (metadata.string(&format!("{architecture}.rope.scaling.type")).unwrap_or("none"), factor) {
        ("none", _) => Scaling::None,
        ("linear", Some(factor)) => Scaling::Linear { factor },
        ("yarn", Some(factor)) => Scaling::Yarn {
            factor,
            original_context,
            beta_fast: number("scaling.yarn_beta_fast").unwrap_or(32.0),
            beta_slow: number("scaling.yarn_beta_slow").unwrap_or(1.0),
            truncate: true,
            attention_factor: None,
            mscale: None,
        },
        (other, _) => {
            let feature = format!("the rope scaling `{other}`");
            return Err(BaseError::UnsupportedFeature { path: path.into(), feature }.into());
        }
    };
    let dim = number("dimension_count").map_or(head_dim, |dim| dim as usize);
    Ok(Rope { theta, dim, scaling })
}
