//! The class of a tokenizer, as transformers 5.24 chooses it (`AutoTokenizer`), with the special tokens that it has by default (the
//! arguments of the class). A token that the files name, also as null, comes before them.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

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
}

const LLAMA: Defaults = &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")];
const END_OF_TEXT: Defaults =
    &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")];
const QWEN: Defaults =
    &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];

const CLASSES: [Class; 9] = [
    Class { name: "LlamaTokenizer", models: &[], defaults: LLAMA },
    Class { name: "CodeLlamaTokenizer", models: &[], defaults: LLAMA },
    Class { name: "CodeGenTokenizer", models: &[], defaults: END_OF_TEXT },
    Class { name: "GPT2Tokenizer", models: &["gpt2", "phi", "starcoder2"], defaults: END_OF_TEXT },
    Class { name: "Qwen3_5Tokenizer", models: &[], defaults: QWEN },
    Class {
        name: "Qwen2Tokenizer",
        models: &[QWEN_2, "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3", "qwen3_moe", "qwen3_vl", "qwen3_next"],
        defaults: QWEN,
    },
    Class {
        name: "GPTNeoXTokenizer",
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

/// The classes that split text as GPT-2 does, whatever the file of the tokenizer says.
const SPLITS_AS_GPT_2: [&str; 3] = ["GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer"];

impl Class {
    /// What is to be said of a tokenizer whose file splits text in another way than transformers 5 does with its class.
    pub fn remark(&self, config: &Map<String, Value>, tokenizer: &Tokenizer) -> Option<String> {
        let splitter = serde_json::to_value(tokenizer.get_pre_tokenizer()).unwrap_or_default();
        let adds_space = config.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
        let is_same = splitter["type"] == "ByteLevel"
            && splitter["use_regex"] != Value::Bool(false)
            && splitter["add_prefix_space"] == Value::Bool(adds_space);
        (SPLITS_AS_GPT_2.contains(&self.name) && !is_same).then(|| {
            format!(
                "text is split as tokenizer.json says, but transformers 5 splits that of a `{}` as GPT-2 does: an adapter that was \
                 trained with it saw other tokens",
                self.name
            )
        })
    }
}

/// The class of a tokenizer that has one. `config` is its tokenizer_config.json, beside which there may be a config.json.
pub fn of(config: &Map<String, Value>, folder: &Path, tokenizer: &Tokenizer) -> Result<Option<&'static Class>> {
    let model = folder.join("config.json");
    let model: Map<String, Value> = if model.is_file() { files::read_json(&model)? } else { Map::new() };
    Ok(choose(config, &model, tokenizer))
}

fn choose(config: &Map<String, Value>, model: &Map<String, Value>, tokenizer: &Tokenizer) -> Option<&'static Class> {
    let text = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_str).map(String::from);
    let named = text(config, "tokenizer_class").or_else(|| text(model, "tokenizer_class"));
    let named = named.as_deref().map(|name| name.strip_suffix("Fast").unwrap_or(name));
    let model_type = text(model, "model_type").unwrap_or_default();
    let of_model = CLASSES.iter().find(|class| class.models.contains(&model_type.as_str()));
    match named {
        _ if WITHOUT_CLASS.contains(&model_type.as_str()) => None,
        Some(_) if model_type == QWEN_2 => of_model,
        // The class would split text in another way than the file does.
        Some("LlamaTokenizer") if is_byte_level(tokenizer) => None,
        Some(name) => CLASSES.iter().find(|class| class.name == name),
        None => of_model,
    }
}

/// Whether a tokenizer works on bytes, as GPT-2's does.
fn is_byte_level(tokenizer: &Tokenizer) -> bool {
    let parts = serde_json::to_string(&(tokenizer.get_pre_tokenizer(), tokenizer.get_decoder()));
    parts.unwrap_or_default().contains("\"ByteLevel\"")
}
