//! Names of adapter tensors: which module, which part of it, which layer. Pure text, no files.
//!
//! PEFT writes `base_model.model.<module>.lora_A.weight`; the module is the name inside the base model, for example
//! `model.layers.3.self_attn.q_proj`. Old saves carry the adapter's name in between (`lora_A.default.weight`).

use std::collections::{BTreeMap, BTreeSet};

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `lora_A`, shape (rank, inputs).
    LoraA,
    /// `lora_B`, shape (outputs, rank).
    LoraB,
    /// `lora_B.bias` of `lora_bias`.
    LoraBias,
    /// `lora_embedding_A`, shape (rank, tokens).
    EmbeddingA,
    /// `lora_embedding_B`, shape (hidden, rank).
    EmbeddingB,
    /// DoRA's magnitude vector.
    Magnitude,
    /// Anything else: a saved module, a base bias, trainable tokens.
    Other,
}

/// The name of one adapter tensor, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The module inside the base model; for [`Part::Other`], the tensor's name without its last segment.
    pub module: String,
    pub part: Part,
}

/// The marks of the parts, as the segment that names them.
const PARTS: [(&str, Part); 5] = [
    ("lora_A", Part::LoraA),
    ("lora_B", Part::LoraB),
    ("lora_embedding_A", Part::EmbeddingA),
    ("lora_embedding_B", Part::EmbeddingB),
    ("lora_magnitude_vector", Part::Magnitude),
];

impl Key {
    pub fn parse(name: &str) -> Key {
        let name = name.strip_prefix("base_model.model.").unwrap_or(name);
        for (mark, part) in PARTS {
            let Some((module, rest)) = split_at_segment(name, mark) else { continue };
            let part = match (part, rest.rsplit('.').next()) {
                (Part::LoraB, Some("bias")) => Part::LoraBias,
                (part, _) => part,
            };
            return Key { module: module.into(), part };
        }
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        Key { module: module.into(), part: Part::Other }
    }

    /// Whether the tensor is part of a LoRA pair, and not a saved module or the like.
    pub fn is_lora(&self) -> bool {
        self.part != Part::Other
    }
}

/// Splits `a.b.mark.c` into `a.b` and `c`.
fn split_at_segment<'a>(name: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = name.find(&format!(".{mark}"))?;
    let rest = &name[at + 1 + mark.len()..];
    (rest.is_empty() || rest.starts_with('.')).then(|| (&name[..at], rest.trim_start_matches('.')))
}

/// The first `<stack>.<index>` of a module name: `model.layers.3.mlp` gives (`model.layers`, 3). PEFT's own default
/// pattern takes the first number too, so that experts (`layers.1.experts.0`) do not hide the layer.
pub fn stack_and_layer(module: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for segment in module.split('.') {
        if start > 0
            && segment.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(index) = segment.parse()
        {
            return Some((&module[..start - 1], index));
        }
        start += segment.len() + 1;
    }
    None
}

/// Words in the name of a stack that is not a text decoder, if another stack is there.
const TOWERS: [&str; 6] = ["vision", "visual", "image", "audio", "encoder", "speech"];

/// The stacks that an adapter reaches into and, where it is clear, which of them is the decoder.
#[derive(Debug, PartialEq, Eq)]
pub struct Stacks<'a> {
    pub all: BTreeMap<&'a str, BTreeSet<usize>>,
    pub decoder: Option<&'a str>,
}

/// Finds the stack of decoder layers among module names: the only one, or the only one that is no tower or encoder.
pub fn find_stacks<'a>(modules: impl IntoIterator<Item = &'a str>) -> Stacks<'a> {
    let mut all: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (stack, layer) in modules.into_iter().filter_map(stack_and_layer) {
        all.entry(stack).or_default().insert(layer);
    }
    let is_tower = |stack: &str| TOWERS.iter().any(|tower| stack.contains(tower));
    let mut decoders = all.keys().copied().filter(|stack| all.len() == 1 || !is_tower(stack));
    let decoder = decoders.next();
    let unique = decoders.next().is_none();
    Stacks { decoder: decoder.filter(|_| unique), all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_parts_and_infixes() {
        for (name, module, part) in [
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "model.layers.0.mlp.up_proj", Part::LoraA),
            ("base_model.model.h.0.attn.lora_B.default.weight", "h.0.attn", Part::LoraB),
            ("base_model.model.h.0.attn.lora_B.bias", "h.0.attn", Part::LoraBias),
            ("base_model.model.h.0.attn.lora_magnitude_vector", "h.0.attn", Part::Magnitude),
            ("base_model.model.model.embed_tokens.lora_embedding_A", "model.embed_tokens", Part::EmbeddingA),
            ("base_model.model.lm_head.weight", "lm_head", Part::Other),
            ("base_model.model.x.lora_Alien.weight", "x.lora_Alien", Part::Other),
        ] {
            assert_eq!(Key::parse(name), Key { module: module.into(), part }, "{name}");
        }
    }

    #[test]
    fn the_first_number_is_the_layer() {
        assert_eq!(stack_and_layer("model.layers.12.mlp.experts.3.w1"), Some(("model.layers", 12)));
        assert_eq!(stack_and_layer("layers.4.mlp"), Some(("layers", 4)));
        assert_eq!(stack_and_layer("lm_head"), None);
        assert_eq!(stack_and_layer("0.mlp"), None);
        assert_eq!(stack_and_layer("layers.99999999999999999999999.mlp"), None);
    }

    #[test]
    fn towers_are_not_decoders() {
        let modules = ["vision_tower.layers.1.q", "language_model.model.layers.0.q"];
        assert_eq!(find_stacks(modules).decoder, Some("language_model.model.layers"));
        assert_eq!(find_stacks(["vit.encoder.layer.3.q"]).decoder, Some("vit.encoder.layer"));
        assert_eq!(find_stacks(["a.layers.0.q", "b.layers.0.q"]).decoder, None);
        assert_eq!(find_stacks(["lm_head"]).decoder, None);
    }
}
