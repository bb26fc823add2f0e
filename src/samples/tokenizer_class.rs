//! The class of a tokenizer, as transformers 5.24 chooses it (`AutoTokenizer`), with the special tokens that it has by default (the
//! arguments of the class). A token that the files name, also as null, comes before them.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::tokenizer::TokenizerFacts;
use crate::error::Result;
use crate::files;

/// The special tokens of a class.
type Defaults = &'static [(&'static str, &'static str)];

/// A class of tokenizers.
pub struct Class {
    name: &'static str,
    /// The types of models whose tokenizer it is, if the files do not name a class.
    models: &'static [&'static str],
    pub defaults: Defaults,
    splits: Splits,
}

const LLAMA: Defaults = &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")];
const END_OF_TEXT: Defaults =
    &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")];
const QWEN: Defaults =
    &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];

const CLASSES: [Class; 9] = [
    Class { name: "LlamaTokenizer", splits: Splits::Llama, models: &[], defaults: LLAMA },
    Class { name: "CodeLlamaTokenizer", splits: Splits::CodeLlama, models: &[], defaults: LLAMA },
    Class { name: "CodeGenTokenizer", splits: Splits::Gpt2, models: &[], defaults: END_OF_TEXT },
    Class {
        name: "GPT2Tokenizer",
        splits: Splits::Gpt2,
        models: &["gpt2", "phi", "starcoder2"],
        defaults: END_OF_TEXT,
    },
    Class { name: "Qwen3_5Tokenizer", splits: Splits::Qwen(QWEN_3_5_WORDS), models: &[], defaults: QWEN },
    Class {
        name: "Qwen2Tokenizer",
        splits: Splits::Qwen(QWEN_2_WORDS),
        models: &[QWEN_2, "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3", "qwen3_moe", "qwen3_vl", "qwen3_next"],
        defaults: QWEN,
    },
    Class {
        name: "GPTNeoXTokenizer",
        splits: Splits::GptNeoX,
        models: &["gpt_neox", "mpt", "olmo", "olmoe", "mamba", "mamba2", "falcon_mamba"],
        defaults: &[
            ("unk_token", "<|endoftext|>"),
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("pad_token", "<|padding|>"),
        ],
    },
    Class {
        name: "GemmaTokenizer",
        splits: Splits::Gemma,
        models: &["gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "recurrent_gemma"],
        defaults: &[
            ("unk_token", "<unk>"),
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    },
    Class {
        name: "CohereTokenizer",
        splits: Splits::Cohere,
        models: &["cohere", "cohere2", "aya_vision"],
        defaults: &[
            ("unk_token", "<UNK>"),
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("pad_token", "<PAD>"),
            ("cls_token", "<CLS>"),
            ("sep_token", "<SEP>"),
            ("mask_token", "<MASK_TOKEN>"),
        ],
    },
];

/// A type of model whose files may name another class, which is not believed.
const QWEN_2: &str = "qwen2";

/// Types of models whose tokenizer is of no class, whatever the files name.
const WITHOUT_CLASS: [&str; 12] = [
    "glm",
    "glm4",
    "granite",
    "granitemoe",
    "llava",
    "ministral",
    "mistral",
    "mistral3",
    "mixtral",
    "olmo2",
    "phi3",
    "stablelm",
];

impl Class {
    /// What is to be said of a tokenizer whose file normalizes or splits text in another way than the class, which replaces both by
    /// its own in transformers 5.
    pub fn remark(&self, config: &Map<String, Value>, facts: &TokenizerFacts) -> Option<String> {
        let (normalizer, splitter) = self.splits.parts(config);
        let is_same = canonical(&facts.normalizer) == canonical(normalizer)
            && canonical(&facts.pre_tokenizer) == canonical(splitter);
        (!is_same).then(|| {
            format!(
                "text is split as tokenizer.json says, but transformers 5 splits that of a `{}` in the way of this class: an adapter \
                 that was trained with it may have seen other tokens",
                self.name
            )
        })
    }
}

/// How a class splits text.
#[derive(Debug, Clone, Copy)]
enum Splits {
    Gpt2,
    GptNeoX,
    /// By an expression.
    Qwen(&'static str),
    Cohere,
    /// `legacy` in the configuration puts a space after each special token.
    Llama,
    CodeLlama,
    Gemma,
}

const QWEN_2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Splits {
    /// The normalizer and the pre-tokenizer, as a tokenizer.json has them. `config` is the tokenizer_config.json.
    fn parts(self, config: &Map<String, Value>) -> (Value, Value) {
        let flag = |key: &str| config.get(key).and_then(Value::as_bool);
        let adds_space = flag("add_prefix_space");
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": adds_space == Some(true), "use_regex": use_regex});
        let sequence = |first: Value, then: Value| json!({"type": "Sequence", "pretokenizers": [first, then]});
        let composed = || json!({"type": "NFC"});
        match self {
            Self::Gpt2 => (Value::Null, bytes(true)),
            Self::GptNeoX => (composed(), bytes(true)),
            Self::Qwen(words) => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false});
                (composed(), sequence(split, bytes(false)))
            }
            Self::Cohere => (composed(), sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true))),
            Self::Llama | Self::CodeLlama => {
                let is_legacy = matches!(self, Self::Llama) && flag("legacy") == Some(true);
                let scheme = match adds_space {
                    Some(false) => "never",
                    _ if is_legacy => "always",
                    _ => "first",
                };
                let marks = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
                (Value::Null, marks)
            }
            Self::Gemma => {
                let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
                let split = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
                (replace, split)
            }
        }
    }
}

/// A part of a tokenizer in one spelling: without what only counts for offsets, and without steps that do nothing.
fn canonical(part: impl Serialize) -> Value {
    let mut part = serde_json::to_value(part).unwrap_or_default();
    for key in ["normalizers", "pretokenizers"] {
        match part.get_mut(key).and_then(Value::as_array_mut) {
            Some(steps) if steps.is_empty() => return Value::Null,
            Some(steps) if steps.len() == 1 => return canonical(&steps[0]),
            Some(steps) => steps.iter_mut().for_each(|step| *step = canonical(&*step)),
            None => {}
        }
    }
    if let Some(fields) = part.as_object_mut() {
        fields.shift_remove("trim_offsets");
    }
    part
}

/// The class of a tokenizer that has one. `config` is its tokenizer_config.json, beside which there may be a config.json.
pub fn of(config: &Map<String, Value>, folder: &Path, facts: &TokenizerFacts) -> Result<Option<&'static Class>> {
    let model = folder.join("config.json");
    let model: Map<String, Value> = if model.is_file() { files::read_json(&model)? } else { Map::new() };
    Ok(choose(config, &model, facts))
}

fn choose(config: &Map<String, Value>, model: &Map<String, Value>, facts: &TokenizerFacts) -> Option<&'static Class> {
    let text = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_str).map(String::from);
    let named = text(config, "tokenizer_class").or_else(|| text(model, "tokenizer_class"));
    let named = named.as_deref().map(|name| name.strip_suffix("Fast").unwrap_or(name));
    let model_type = text(model, "model_type").unwrap_or_default();
    let of_model = CLASSES.iter().find(|class| class.models.contains(&model_type.as_str()));
    match named {
        _ if WITHOUT_CLASS.contains(&model_type.as_str()) => None,
        Some(_) if model_type == QWEN_2 => of_model,
        // The class would split text in another way than the file does.
        Some("LlamaTokenizer") if is_byte_level(facts) => None,
        Some(name) => CLASSES.iter().find(|class| class.name == name),
        None => of_model,
    }
}

/// Whether a tokenizer works on bytes, as GPT-2's does.
fn is_byte_level(facts: &TokenizerFacts) -> bool {
    let parts = serde_json::to_string(&(&facts.pre_tokenizer, &facts.decoder));
    parts.unwrap_or_default().contains("\"ByteLevel\"")
}
