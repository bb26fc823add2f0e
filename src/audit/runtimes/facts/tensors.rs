//! Facts from the names and shapes of tensors, and from the files that hold them.

use super::shown;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, Method, WEIGHTS_NAME, is_vocabulary};

/// The tensors of which something is true.
fn those(adapter: &Adapter, is_so: impl Fn(&AdapterTensor) -> bool) -> Option<String> {
    shown(adapter.tensors().filter(is_so).map(|tensor| short(tensor.name)))
}

/// Without the prefix of all names, so that one fits in a line.
fn short(name: &str) -> String {
    name.strip_prefix("base_model.model.").unwrap_or(name).into()
}

pub fn tokens(adapter: &Adapter) -> Option<String> {
    those(adapter, |tensor| tensor.key.part == Part::Tokens).map(|names| format!("tokens are trained ({names})"))
}

pub fn embedding_lora(adapter: &Adapter) -> Option<String> {
    let names = those(adapter, |tensor| matches!(tensor.key.part, Part::EmbeddingA | Part::EmbeddingB));
    names.map(|names| format!("there is LoRA on the embedding ({names})"))
}

pub fn head_lora(adapter: &Adapter) -> Option<String> {
    let is_head = |tensor: &AdapterTensor| {
        matches!(tensor.key.part, Part::LoraA | Part::LoraB) && is_vocabulary(&tensor.key.module)
    };
    those(adapter, is_head).map(|names| format!("there is LoRA on the head ({names})"))
}

/// Whether a tensor replaces a weight of the base model; biases are a fact of their own.
fn is_saved(tensor: &AdapterTensor) -> bool {
    tensor.key.part == Part::Saved && !tensor.name.ends_with(".bias")
}

fn is_norm(module: &str) -> bool {
    module.rsplit('.').next().is_some_and(|last| last.contains("norm") || last.starts_with("ln_"))
}

pub fn saved_vocabulary(adapter: &Adapter) -> Option<String> {
    let names = those(adapter, |tensor| is_saved(tensor) && is_vocabulary(&tensor.key.module));
    names.map(|names| format!("it holds a whole embedding or head ({names})"))
}

pub fn saved_norms(adapter: &Adapter) -> Option<String> {
    let names = those(adapter, |tensor| is_saved(tensor) && is_norm(&tensor.key.module));
    names.map(|names| format!("it holds whole norms ({names})"))
}

pub fn saved_other(adapter: &Adapter) -> Option<String> {
    // The shared matrices of VeRA have such names.
    let is_other =
        |tensor: &AdapterTensor| is_saved(tensor) && !is_vocabulary(&tensor.key.module) && !is_norm(&tensor.key.module);
    let names = those(adapter, |tensor| adapter.config.method == Method::Lora && is_other(tensor));
    names.map(|names| format!("it holds whole modules ({names})"))
}

pub fn convolution(adapter: &Adapter) -> Option<String> {
    let is_convolution =
        |tensor: &AdapterTensor| matches!(tensor.key.part, Part::LoraA | Part::LoraB) && tensor.entry.shape.len() != 2;
    those(adapter, is_convolution).map(|names| format!("there is LoRA on convolutions ({names})"))
}

/// PEFT ignores these: all of its names have the prefix.
pub fn stray_weights(adapter: &Adapter) -> Option<String> {
    let is_weight = |name: &&String| !name.starts_with("base_model.") && name.ends_with(".weight");
    let names = shown(adapter.ignored.iter().filter(is_weight).cloned())?;
    Some(format!("the file also holds {names}"))
}

/// Tensors that are no part of the adapter, but for those whose names contain one of `words`.
pub fn unknown_but(adapter: &Adapter, words: &[&str]) -> Option<String> {
    unknown(adapter, |name| !words.iter().any(|word| name.contains(word)))
}

pub fn unknown_in_layers(adapter: &Adapter) -> Option<String> {
    let is_number = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    unknown(adapter, |name| name.split("layers.").skip(1).any(is_number))
}

fn unknown(adapter: &Adapter, is_so: impl Fn(&str) -> bool) -> Option<String> {
    let names = shown(adapter.ignored.iter().filter(|name| is_so(name)).map(|name| short(name)))?;
    Some(format!("there are tensors of no module of the adapter ({names})"))
}

pub fn base_copies(adapter: &Adapter) -> Option<String> {
    let is_copy = |tensor: &AdapterTensor| tensor.key.part == Part::BaseCopy && !is_vocabulary(&tensor.key.module);
    those(adapter, is_copy).map(|names| format!("it holds copies of the base model's weights ({names})"))
}

/// Another name is a flaw of its own.
pub fn infix(adapter: &Adapter) -> Option<String> {
    let is_default = |tensor: &AdapterTensor| {
        [".lora_A.default.", ".lora_B.default."].iter().any(|infix| tensor.name.contains(infix))
    };
    those(adapter, is_default).map(|names| format!("tensors carry the adapter's name ({names})"))
}

fn file_name(adapter: &Adapter) -> &str {
    adapter.weights.path().file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

pub fn pickle(adapter: &Adapter) -> Option<String> {
    let name = file_name(adapter);
    name.ends_with(".bin").then(|| format!("the weights are in `{name}`"))
}

pub fn shards(adapter: &Adapter) -> Option<String> {
    let name = file_name(adapter);
    let is_in_shards = name.ends_with(".index.json") || adapter.weights.files().count() > 1;
    is_in_shards.then(|| "the weights are in shards".into())
}

pub fn other_name(adapter: &Adapter) -> Option<String> {
    let name = file_name(adapter);
    let is_other = name.ends_with(".safetensors") && name != WEIGHTS_NAME;
    is_other.then(|| format!("the weights are in `{name}`"))
}
