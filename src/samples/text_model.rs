//! The text side of a model: tokenizer, chat template and special tokens, wherever they are stored.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::chat_files::{self, Templates};
use super::template::{ChatTemplate, Date, SpecialTokens};
use super::tokenizer::Tokenizer;
use super::{TemplateContext, added_tokens, gguf_tokenizer, tokenizer_class};
use crate::error::{Error, Result, SampleError};
use crate::files;
use crate::tensors::GgufMetadata;

/// The largest tokenizer.json that is read, in bytes. One with a quarter of a million tokens has 30 MB.
const LARGEST_TOKENIZER: u64 = 64 << 20;

/// What the user says about the chat template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateOptions {
    /// A template that replaces the model's own.
    pub file: Option<PathBuf>,
    /// The day that `strftime_now` gives.
    pub date: Date,
}

/// Turns text into tokens and back.
#[derive(Debug)]
pub struct TextModel {
    /// The file of the tokenizer, for messages and the report.
    pub path: PathBuf,
    pub tokenizer: Tokenizer,
    pub template: Option<ChatTemplate>,
    /// The template for conversations with tools, where a model has one of its own for them.
    tool_template: Option<ChatTemplate>,
    tokens: SpecialTokens,
    pub eos_token: Option<String>,
    eos_id: Option<u32>,
    /// What the tokenizer's files hold that is not used, or how tokens differ from those of transformers.
    pub remark: Option<String>,
    /// What the tokenizer would do at random, and does not do here.
    pub randomness: Option<String>,
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
        let mut tokenizer = Tokenizer::read(&bytes, &file)?;
        drop(bytes);
        let config_file = file.with_file_name("tokenizer_config.json");
        let config: Map<String, Value> =
            if config_file.is_file() { files::read_json(&config_file)? } else { Map::new() };
        let folder = file.parent().unwrap_or(Path::new(""));
        let class = tokenizer_class::of(&config, folder, tokenizer.facts())?;
        let tokens = chat_files::special_tokens(&config, folder, class)?;
        let remark = class.and_then(|class| class.remark(&config, tokenizer.facts()));
        added_tokens::complete(&mut tokenizer, &config, &tokens, &file)?;
        let templates = chat_files::templates(&config, folder)?;
        Ok(Some(Self { remark, ..Self::new(file, tokenizer, &tokens, &templates)? }))
    }

    /// Reads the tokenizer and the chat template out of a GGUF file's metadata.
    pub fn from_gguf(metadata: &GgufMetadata, path: &Path) -> Result<Self> {
        let wrong = |reason| SampleError::Tokenizer { path: path.into(), reason };
        let built = gguf_tokenizer::build(metadata).map_err(wrong)?;
        let tokenizer = Tokenizer::read(&built.json, path).map_err(without_place)?;
        let (tokens, templates) = (chat_files::gguf_special_tokens(metadata), chat_files::gguf_templates(metadata));
        let remark = built.remark.map(|remark| format!("`{}`: {remark}", path.display()));
        Ok(Self { remark, ..Self::new(path.into(), tokenizer, &tokens, &templates)? })
    }

    fn new(path: PathBuf, tokenizer: Tokenizer, tokens: &SpecialTokens, templates: &Templates) -> Result<Self> {
        let template = |name: &str| templates.get(name).map(|source| ChatTemplate::new(source, tokens));
        let (template, tool_template) = (template("default"), template("tool_use"));
        let eos_token = tokens.get("eos_token").cloned();
        let eos_id = eos_token.as_deref().map_or(Ok(None), |token| tokenizer.id(token))?;
        let randomness = tokenizer.facts().dropout.map(|share| {
            format!(
                "`{}` leaves out merges at random (a BPE dropout of {share}); here it leaves out none, so that equal texts have \
                 equal tokens",
                path.display()
            )
        });
        let tokens = tokens.clone();
        Ok(Self { path, tokenizer, template, tool_template, tokens, eos_token, eos_id, remark: None, randomness })
    }

    /// Follows the user's choice of template and day.
    pub fn with(mut self, options: &TemplateOptions) -> Result<Self> {
        if let Some(path) = &options.file {
            self.template = Some(ChatTemplate::new(&chat_files::source(path)?, &self.tokens));
            self.tool_template = None;
        }
        let on_day = |template: Option<ChatTemplate>| template.map(|template| template.on(options.date));
        self.template = on_day(self.template);
        self.tool_template = on_day(self.tool_template);
        Ok(self)
    }

    /// The template for a conversation: the one for tools if there are tools and such a template, else the default one.
    pub fn template_for(&self, context: &TemplateContext) -> Option<&ChatTemplate> {
        let tools = context.tools.as_ref().and(self.tool_template.as_ref());
        tools.or(self.template.as_ref())
    }

    /// The text of tokens, without the special ones.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true)
    }

    /// Whether a token is special: a mark between texts and part of none.
    pub fn is_special(&self, id: u32) -> bool {
        self.tokenizer.facts().added.get(&id).is_some_and(|token| token.special)
    }

    /// The id of the token that ends texts.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }
}

/// An error without the place in a tokenizer.json, which nobody has of the tokenizer of a GGUF file.
fn without_place(error: Error) -> Error {
    match error {
        Error::Sample(SampleError::Tokenizer { path, reason }) => {
            let reason = reason.split(" at line ").next().unwrap_or_default().to_string();
            SampleError::Tokenizer { path, reason }.into()
        }
        other => other,
    }
}
