//! The text side of a model: tokenizer, chat template and special tokens, wherever they are stored.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::gguf_tokenizer;
use super::template::ChatTemplate;
use crate::error::{Result, SampleError};
use crate::files;
use crate::tensors::GgufMetadata;

/// The largest tokenizer.json that is read, in bytes. One with a quarter of a million tokens has 30 MB.
const LARGEST_TOKENIZER: u64 = 64 << 20;

/// Turns text into tokens and back.
#[derive(Debug, Clone)]
pub struct TextModel {
    /// The file of the tokenizer, for messages and the report.
    pub path: PathBuf,
    pub tokenizer: Tokenizer,
    pub template: Option<ChatTemplate>,
    pub bos_token: String,
    pub eos_token: Option<String>,
}

impl TextModel {
    /// Reads a folder with `tokenizer.json`, or that file itself; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        if !file.is_file() {
            return Ok(None);
        }
        let bytes = files::read_up_to(&file, LARGEST_TOKENIZER)?;
        files::refuse_lfs_pointer(&file, &bytes)?;
        let tokenizer = Tokenizer::from_bytes(&bytes)
            .map_err(|error| SampleError::Tokenizer { path: file.clone(), reason: error.to_string() })?;
        let config_file = file.with_file_name("tokenizer_config.json");
        let config: Map<String, Value> =
            if config_file.is_file() { files::read_json(&config_file)? } else { Map::new() };
        let token = |key: &str| special_token(config.get(key)?);
        let (bos, eos) = (token("bos_token").unwrap_or_default(), token("eos_token"));
        let template_file = file.with_file_name("chat_template.jinja");
        let source = if template_file.is_file() {
            let bytes = files::read_up_to(&template_file, files::LARGEST_JSON)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        } else {
            config.get("chat_template").and_then(default_template)
        };
        let template = source.map(|source| ChatTemplate::new(&source, &bos, eos.as_deref().unwrap_or_default()));
        Ok(Some(Self { path: file, tokenizer, template, bos_token: bos, eos_token: eos }.without_limits()))
    }

    /// Reads the tokenizer and the chat template out of a GGUF file's metadata.
    pub fn from_gguf(metadata: &GgufMetadata, path: &Path) -> Result<Self> {
        let tokenizer =
            gguf_tokenizer::build(metadata).map_err(|reason| SampleError::Tokenizer { path: path.into(), reason })?;
        let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap_or_default();
        let text = |role| gguf_tokenizer::token_text(metadata, &tokens, role).map(String::from);
        let (bos, eos) = (text("bos").unwrap_or_default(), text("eos"));
        let template = metadata
            .string("tokenizer.chat_template")
            .map(|source| ChatTemplate::new(source, &bos, eos.as_deref().unwrap_or_default()));
        Ok(Self { path: path.into(), tokenizer, template, bos_token: bos, eos_token: eos }.without_limits())
    }

    /// Takes the chat template from a file.
    pub fn read_template(&mut self, path: &Path) -> Result<()> {
        let bytes = files::read_up_to(path, files::LARGEST_JSON)?;
        let source = String::from_utf8_lossy(&bytes);
        let eos = self.eos_token.as_deref().unwrap_or_default();
        self.template = Some(ChatTemplate::new(&source, &self.bos_token, eos));
        Ok(())
    }

    /// The text of tokens, without the special ones.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.tokenizer.decode(ids, true);
        text.map_err(|error| SampleError::Tokenizer { path: self.path.clone(), reason: error.to_string() }.into())
    }

    /// Whether a token is special: a mark between texts and part of none.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }

    /// The id of the token that ends texts.
    pub fn eos_id(&self) -> Option<u32> {
        self.tokenizer.token_to_id(self.eos_token.as_deref()?)
    }

    /// Removes the truncation and padding that a tokenizer.json may ask for: they would silently change samples.
    fn without_limits(mut self) -> Self {
        self.tokenizer.with_padding(None);
        let _ = self.tokenizer.with_truncation(None);
        self
    }
}

/// A special token is a string, or an object with its `content`.
fn special_token(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}

/// A chat template is a string, or a list of named ones.
fn default_template(value: &Value) -> Option<String> {
    let named = |entry: &Value| {
        (entry.get("name")?.as_str()? == "default").then(|| entry.get("template")?.as_str().map(String::from))?
    };
    value.as_str().map(String::from).or_else(|| value.as_array()?.iter().find_map(named))
}
