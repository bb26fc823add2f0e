//! Names of adapter tensors: their module, its layer, and the part of it that the tensor is. Pure text, no files.
//!
//! PEFT writes `base_model.model.<module>.lora_A.weight`; the module is the name inside the base model, for example
//! `model.layers.3.self_attn.q_proj`. Old saves have the adapter's name in between (`lora_A.default.weight`). Saves by hand may
//! have another name there, and wrappers of training anywhere; these are taken away and kept in [`Spelling`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::wrappers;

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
    /// `lora_E`, AdaLoRA's singular values, shape (rank, 1): they scale the rows of `lora_A`.
    LoraE,
    /// A parameter of another method, by PEFT's name for it.
    Factor(&'static str),
    /// Rows that replace those of an embedding (`trainable_token_indices`).
    Tokens,
    /// A weight that replaces the base model's, from `modules_to_save` or `bias`.
    Saved,
    /// A copy of the base model's weight, which PEFT stores beside LoRA on an embedding or a head.
    BaseCopy,
}

impl Part {
    /// Whether it is one of the two factors of a pair.
    pub fn is_of_pair(self) -> bool {
        self.is_first_factor() || self.is_second_factor()
    }

    /// `lora_A`, or an embedding's.
    pub fn is_first_factor(self) -> bool {
        matches!(self, Part::LoraA | Part::EmbeddingA)
    }

    /// `lora_B`, or an embedding's.
    pub fn is_second_factor(self) -> bool {
        matches!(self, Part::LoraB | Part::EmbeddingB)
    }
}

/// What precedes the name of a module.
const PREFIX: &str = "base_model.model.";

/// The name of one adapter tensor, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The module inside the base model.
    pub module: String,
    pub part: Part,
    pub spelling: Spelling,
}

/// What a name holds beside PEFT's own spelling. PEFT drops a tensor whose name holds any of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    /// Names of the wrappers around a module or the whole model, each once, without dots at the ends.
    pub wrappers: Vec<String>,
    /// Whether `base_model.model.` is missing.
    pub lacks_prefix: bool,
    /// The adapter's name, if it is another one than `default`, under which PEFT loads.
    pub adapter: Option<String>,
    /// The name without all that, as PEFT saves it; `None` if it is the name in the file.
    clean: Option<String>,
}

impl Spelling {
    /// Whether only `base_model.model.` is missing.
    pub fn lacks_prefix_alone(&self) -> bool {
        self.lacks_prefix && self.wrappers.is_empty() && self.adapter.is_none()
    }

    /// Whether PEFT reads the name.
    pub fn is_clean(&self) -> bool {
        self.clean.is_none()
    }
}

/// The segments that name a part of LoRA or AdaLoRA.
const PARTS: [(&str, Part); 6] = [
    ("lora_A", Part::LoraA),
    ("lora_B", Part::LoraB),
    ("lora_embedding_A", Part::EmbeddingA),
    ("lora_embedding_B", Part::EmbeddingB),
    ("lora_magnitude_vector", Part::Magnitude),
    ("lora_E", Part::LoraE),
];

/// The segments that name a parameter of another method.
#[rustfmt::skip]
const FACTORS: [&str; 22] = [
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "ia3_l", "oft_R", "boft_R", "boft_s", "hra_u", "fourierft_spectrum", "miss_block",
    "vera_lambda_b", "vera_lambda_d",
];

impl Key {
    /// Takes a name apart. Where a file has a named adapter, `adapter` is that name; see [`adapter_names`].
    pub fn parse(name: &str, adapter: Option<&str>) -> Key {
        let (inner, wrappers) = wrappers::strip(name);
        // A tensor that all modules share has no module (`base_model.vera_A`).
        let lacks_prefix = !inner.starts_with("base_model.");
        let unprefixed = inner.strip_prefix(PREFIX).unwrap_or(&inner);
        let (bare, adapter) = without_adapter(unprefixed, adapter);
        let is_in_memory = adapter.is_none() && bare.contains(SAVED);
        let bare = without_saved_wrapper(bare);
        let (module, part) = module_and_part(&bare);
        let prefix = if inner.starts_with(PREFIX) || lacks_prefix { PREFIX } else { "" };
        let is_clean = wrappers.is_empty() && !lacks_prefix && adapter.is_none() && !is_in_memory;
        let clean = (!is_clean).then(|| format!("{prefix}{bare}"));
        Key { module, part, spelling: Spelling { wrappers, lacks_prefix, adapter, clean } }
    }

    /// The name that PEFT reads: the one in the file if it does.
    pub fn clean_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.spelling.clean.as_deref().unwrap_or(name)
    }

    /// The name under which current PEFT saves a pair or a magnitude: one prefix, and no adapter's name in it. For all other
    /// tensors, the one that PEFT reads.
    pub fn plain_name<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        let ending = match self.part {
            Part::LoraA => "lora_A.weight",
            Part::LoraB => "lora_B.weight",
            Part::LoraBias => "lora_B.bias",
            Part::EmbeddingA => "lora_embedding_A",
            Part::EmbeddingB => "lora_embedding_B",
            Part::Magnitude => "lora_magnitude_vector",
            Part::LoraE | Part::Factor(_) | Part::Tokens | Part::Saved | Part::BaseCopy => {
                return self.clean_name(name).into();
            }
        };
        format!("{PREFIX}{}.{ending}", self.module).into()
    }

    /// Whether the tensor is a parameter of the method in a module that it wraps, rather than a weight of its own.
    pub fn is_wrapped(&self) -> bool {
        !matches!(self.part, Part::Saved | Part::BaseCopy | Part::Tokens)
    }
}

/// The module and the part of it that a name without wrappers and without prefix has.
fn module_and_part(name: &str) -> (String, Part) {
    if let Some((module, part, rest)) = split_at_part(name) {
        let part = match (part, rest.rsplit('.').next()) {
            (Part::LoraB, Some("bias")) => Part::LoraBias,
            (part, _) => part,
        };
        return (module.into(), part);
    }
    if let Some((module, _)) = name.split_once(TOKENS) {
        return (module.into(), Part::Tokens);
    }
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    match module.strip_suffix(".base_layer") {
        Some(module) if name.ends_with(".weight") => (module.into(), Part::BaseCopy),
        Some(module) => (module.into(), Part::Saved),
        None => (module.into(), Part::Saved),
    }
}

const TOKENS: &str = ".token_adapter.trainable_tokens_delta";
const SAVED: &str = ".modules_to_save.";

/// The name under which PEFT loads an adapter unless it is told another one.
const DEFAULT: &str = "default";

/// The module, the part and what follows it, of a name that has a part of a method in it.
fn split_at_part(name: &str) -> Option<(&str, Part, &str)> {
    let parts = PARTS.into_iter().chain(FACTORS.map(|name| (name, Part::Factor(name))));
    parts.into_iter().find_map(|(mark, part)| split_at_segment(name, mark).map(|(module, rest)| (module, part, rest)))
}

/// What a name has where PEFT puts the name of the adapter in memory: between a part and `weight` or `bias`.
fn infix(name: &str) -> Option<Range<usize>> {
    let rest = match split_at_part(name) {
        Some((_, _, rest)) => rest,
        None => name.split_once(TOKENS)?.1.strip_prefix('.')?,
    };
    let start = name.len() - rest.len();
    let end = match rest.rsplit_once('.') {
        Some((infix, "weight" | "bias")) => start + infix.len(),
        None if rest == "weight" || rest == "bias" => start,
        _ => name.len(),
    };
    Some(start..end).filter(|infix| !infix.is_empty())
}

/// The names of the adapters that the tensors of a file belong to; none for what has no name, as PEFT saves it.
pub fn adapter_names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let name_of = |name: &str| {
        let (inner, _) = wrappers::strip(name);
        infix(&inner).map(|at| inner[at].to_string())
    };
    names.into_iter().filter_map(name_of).collect()
}

/// The name without that of an adapter, and the latter, unless it is `default`, which old saves have.
fn without_adapter<'a>(name: &'a str, known: Option<&str>) -> (Cow<'a, str>, Option<String>) {
    // What precedes the adapter's name, and what begins with it.
    let (before, rest, adapter) = match (infix(name), name.split_once(SAVED)) {
        (Some(at), _) => (name[..at.start].trim_end_matches('.'), &name[at.start..], &name[at]),
        // The name follows `modules_to_save`, where nothing tells its end if it has a dot.
        (None, Some((before, rest))) => match known.filter(|known| is_first_of(known, rest)) {
            Some(known) => (before, rest, &rest[..known.len()]),
            None => return (name.into(), None),
        },
        (None, None) => return (name.into(), None),
    };
    match adapter {
        DEFAULT => (name.into(), None),
        _ => (format!("{before}{}", &rest[adapter.len()..]).into(), Some(adapter.into())),
    }
}

/// Whether `rest` begins with the segments of `name`.
fn is_first_of(name: &str, rest: &str) -> bool {
    rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

/// A name without PEFT's wrapper of a saved module and the adapter's name in it, which saves of a model in memory have.
fn without_saved_wrapper(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.split_once(SAVED) {
        Some((outer, inner)) => format!("{outer}.{}", inner.strip_prefix("default.").unwrap_or(inner)).into(),
        None => name,
    }
}

/// Splits `a.b.mark.c` into `a.b` and `c`.
fn split_at_segment<'a>(name: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = name.find(&format!(".{mark}"))?;
    let rest = &name[at + 1 + mark.len()..];
    (rest.is_empty() || rest.starts_with('.')).then(|| (&name[..at], rest.trim_start_matches('.')))
}

/// The first `<stack>.<index>` of a module name: `model.layers.3.mlp` gives (`model.layers`, 3). Like PEFT's default
/// pattern, it takes the first number, so that an expert's (`layers.1.experts.0`) does not hide the layer.
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

/// More layers than any decoder has. A greater number in a name or a configuration would keep loops over all layers busy
/// for ever.
pub const MOST_LAYERS: usize = 100_000;

/// Words in the names of parts that are not the text decoder: encoders of images and sound, and what lies between these and the
/// decoder.
const TOWERS: [&str; 14] = [
    "vision",
    "visual",
    "image",
    "audio",
    "encoder",
    "speech",
    "multi_modal",
    "modality",
    "mm_projector",
    "connector",
    "aligner",
    "resampler",
    "perceiver",
    "qformer",
];

/// Whether a module lies in a vision tower or an encoder beside a decoder, or between the two.
pub fn is_of_tower(module: &str) -> bool {
    is_tower(stack_and_layer(module).map_or(module, |(stack, _)| stack))
}

fn is_tower(stack: &str) -> bool {
    TOWERS.iter().any(|tower| stack.contains(tower))
}

/// The layer stacks that an adapter reaches and, where it is clear, the decoder among them.
#[derive(Debug, PartialEq, Eq)]
pub struct Stacks<'a> {
    pub all: BTreeMap<&'a str, BTreeSet<usize>>,
    pub decoder: Option<&'a str>,
}

/// Finds the stack of decoder layers among module names: the only stack, or the only one that is not a tower or an encoder.
pub fn find_stacks<'a>(modules: impl IntoIterator<Item = &'a str>) -> Stacks<'a> {
    let mut all: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (stack, layer) in modules.into_iter().filter_map(stack_and_layer) {
        all.entry(stack).or_default().insert(layer);
    }
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
            ("base_model.model.lm_head.weight", "lm_head", Part::Saved),
            ("base_model.model.score.modules_to_save.default.weight", "score", Part::Saved),
            ("base_model.model.lm_head.base_layer.weight", "lm_head", Part::BaseCopy),
            ("base_model.model.x.y.base_layer.bias", "x.y", Part::Saved),
            ("base_model.model.e.experts.base_layer.lora_A.weight", "e.experts.base_layer", Part::LoraA),
            ("base_model.model.e.token_adapter.trainable_tokens_delta", "e", Part::Tokens),
            ("base_model.model.x.lokr_w1_a", "x", Part::Factor("lokr_w1_a")),
            ("base_model.model.base_model.model.x.lora_A.weight", "x", Part::LoraA),
            ("base_model.vera_A", "base_model", Part::Saved),
            ("base_model.model.x.lora_Alien.weight", "x.lora_Alien", Part::Saved),
        ] {
            let key = Key::parse(name, None);
            assert_eq!((key.module.as_str(), key.part), (module, part), "{name}");
        }
    }

    #[test]
    fn what_peft_does_not_read_is_taken_away() {
        let layer = "base_model.model.model.layers.0.q";
        for (name, clean, adapter) in [
            ("base_model.model.model.layers.0.q.lora_A.weight", None, None),
            ("base_model.model.model.layers.0.q.lora_A.default.weight", None, None),
            ("base_model.model.model.layers.0.q.lora_A.reference.weight", Some("lora_A.weight"), Some("reference")),
            ("base_model.model.model.layers.0.q.lora_A.my.sql-v1.2.weight", Some("lora_A.weight"), Some("my.sql-v1.2")),
            ("base_model.model.model.layers.0.q.lora_B.lora_1.bias", Some("lora_B.bias"), Some("lora_1")),
            ("base_model.model.model.layers.0.q.lora_embedding_A.x", Some("lora_embedding_A"), Some("x")),
            ("base_model.model.model.layers.0.q.hada_w1_a.x", Some("hada_w1_a"), Some("x")),
            ("base_model.model.model.layers.0.q.modules_to_save.a.b.weight", Some("weight"), Some("a.b")),
            (
                "base_model.model.model.layers.0.q.token_adapter.trainable_tokens_delta.x",
                Some("token_adapter.trainable_tokens_delta"),
                Some("x"),
            ),
            ("base_model.model.model.layers.0.q.lora_A.layers.weight", Some("lora_A.weight"), Some("layers")),
            ("model.layers.0.q.lora_A.weight", Some("lora_A.weight"), None),
            ("module.base_model.model.model.layers.0.q.lora_A.weight", Some("lora_A.weight"), None),
        ] {
            let key = Key::parse(name, Some("a.b"));
            let clean = clean.map(|ending| format!("{layer}.{ending}"));
            assert_eq!(key.module, "model.layers.0.q", "{name}");
            assert_eq!((&key.spelling.clean, key.spelling.adapter.as_deref()), (&clean, adapter), "{name}");
            assert_eq!(key.clean_name(name), clean.as_deref().unwrap_or(name));
        }
    }

    #[test]
    fn adapters_of_a_file_are_told_apart() {
        let names =
            ["b.q.lora_A.weight", "b.q.lora_A.default.weight", "b.k.lora_B.sql.weight", "_orig_mod.b.hada_w1_a.x"];
        assert_eq!(adapter_names(names), BTreeSet::from(["default", "sql", "x"].map(String::from)));
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
