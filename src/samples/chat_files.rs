//! Where a model keeps its chat templates and special tokens, as transformers looks for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::gguf_tokenizer;
use super::template::SpecialTokens;
use super::tokenizer_class::Class;
use crate::error::{Result, SampleError};
use crate::files;
use crate::tensors::GgufMetadata;

/// Chat templates by name. A model with a single one calls it `default`.
pub type Templates = BTreeMap<String, String>;

/// The names of the templates that are used.
const USED: [&str; 2] = ["default", "tool_use"];

/// The largest number of templates beside the default one.
const MOST: usize = 64;

/// The special tokens that every tokenizer may have, and the names that GGUF has for them.
const SPECIAL: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    ("sep_token", "seperator"),
    ("pad_token", "padding"),
    ("cls_token", "cls"),
    ("mask_token", "mask"),
];

type TokenizerConfig = Map<String, Value>;

/// The special tokens of a folder. `special_tokens_map.json` comes before `tokenizer_config.json`, and what neither names, not even
/// as null, is that of the tokenizer's class.
pub fn special_tokens(config: &TokenizerConfig, folder: &Path, class: Option<&Class>) -> Result<SpecialTokens> {
    let map = special_tokens_map(config, folder)?;
    let mut tokens = named_tokens(config);
    tokens.extend(named_tokens(&map));
    for (name, text) in class.into_iter().flat_map(|class| class.defaults) {
        if !config.contains_key(*name) && !map.contains_key(*name) {
            tokens.insert((*name).into(), (*text).into());
        }
    }
    Ok(tokens)
}

/// The fields of `special_tokens_map.json`, unless `tokenizer_config.json` lists the added tokens, as newer ones do.
pub fn special_tokens_map(config: &TokenizerConfig, folder: &Path) -> Result<TokenizerConfig> {
    let map = folder.join("special_tokens_map.json");
    if config.contains_key("added_tokens_decoder") || !map.is_file() { Ok(Map::new()) } else { files::read_json(&map) }
}

/// The tokens in the order in which transformers adds them to a vocabulary: the standard ones first.
pub fn in_order(tokens: &SpecialTokens) -> impl Iterator<Item = &String> {
    let is_standard = |name: &str| SPECIAL.iter().any(|(standard, _)| *standard == name);
    let own = tokens.iter().filter(move |(name, _)| !is_standard(name)).map(|(_, text)| text);
    SPECIAL.iter().filter_map(|(name, _)| tokens.get(*name)).chain(own)
}

/// The standard tokens, and those that are a model's own.
fn named_tokens(fields: &TokenizerConfig) -> SpecialTokens {
    let own = fields.get("extra_special_tokens").and_then(Value::as_object).into_iter().flatten();
    let own_or_named = fields.iter().filter(|(name, _)| name.ends_with("_token")).chain(own);
    own_or_named.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// A special token is a string, or an object with its `content`.
pub fn text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}

/// The templates of a folder: `chat_template.jinja` and the files in `additional_chat_templates/`, or else those in
/// `tokenizer_config.json`, or else the one in a processor's `chat_template.json`.
pub fn templates(config: &TokenizerConfig, folder: &Path) -> Result<Templates> {
    let mut found = Templates::new();
    let default = folder.join("chat_template.jinja");
    if default.is_file() {
        found.insert("default".into(), source(&default)?);
    }
    for file in additional(&folder.join("additional_chat_templates"))? {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Those of other names count as templates of the folder, but none is ever rendered.
        let text = if USED.contains(&name.as_str()) { source(&file)? } else { String::new() };
        found.insert(name, text);
    }
    if found.is_empty() {
        found = config.get("chat_template").map(listed).unwrap_or_default();
    }
    let processor = folder.join("chat_template.json");
    if found.is_empty() && processor.is_file() {
        let fields: TokenizerConfig = files::read_json(&processor)?;
        found = fields.get("chat_template").map(listed).unwrap_or_default();
    }
    Ok(found)
}

fn additional(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(crate::error::FileError::read(folder))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "jinja")).collect();
    paths.sort();
    paths.truncate(MOST);
    Ok(paths)
}

/// The text of a template's file.
pub fn source(path: &Path) -> Result<String> {
    let bytes = files::read_up_to(path, files::LARGEST_JSON)?;
    files::refuse_lfs_pointer(path, &bytes)?;
    String::from_utf8(bytes).map_err(|_| SampleError::TemplateNotText { path: path.into() }.into())
}

/// A chat template is a string, a list of named ones, or an object of them.
fn listed(value: &Value) -> Templates {
    let named = |entry: &Value| Some((entry.get("name")?.as_str()?.into(), entry.get("template")?.as_str()?.into()));
    match value {
        Value::String(source) => Templates::from([("default".into(), source.clone())]),
        Value::Array(entries) => entries.iter().filter_map(named).collect(),
        Value::Object(entries) => {
            entries.iter().filter_map(|(name, source)| Some((name.clone(), source.as_str()?.into()))).collect()
        }
        _ => Templates::new(),
    }
}

/// The special tokens of a GGUF file.
pub fn gguf_special_tokens(metadata: &GgufMetadata) -> SpecialTokens {
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap_or_default();
    let text = |role: &str| gguf_tokenizer::token_text(metadata, &tokens, role).map(String::from);
    SPECIAL.iter().filter_map(|(name, role)| Some(((*name).into(), text(role)?))).collect()
}

/// The templates of a GGUF file: the default one, and the one for tools.
pub fn gguf_templates(metadata: &GgufMetadata) -> Templates {
    let keys = [("default", "tokenizer.chat_template"), ("tool_use", "tokenizer.chat_template.tool_use")];
    keys.iter().filter_map(|(name, key)| Some(((*name).into(), metadata.string(key)?.into()))).collect()
}
