//! The base model, which evaluations share: it is opened once, and its tokenizer read once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Request;
use crate::adapter::{Adapter, AdapterConfig};
use crate::error::{AdapterError, BaseError, Error, Result};
use crate::files;
use crate::format::plural;
use crate::hub::BasePath;
use crate::model::family::OUTER;
use crate::model::{BaseNames, Model};
use crate::samples::{TemplateOptions, TextModel, tokenizer};
use crate::tensors::GgufMetadata;

/// A base model that adapters are evaluated on.
pub struct Base {
    pub path: BasePath,
    pub model: Model,
    gguf: Option<GgufMetadata>,
    /// The tokenizers that were read, by what the user says about the chat template.
    texts: Mutex<Vec<(TemplateOptions, Option<Arc<TextModel>>)>>,
}

impl Base {
    /// Opens a base model, a folder, a GGUF file or a name in the Hugging Face cache, to share it among evaluations.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_for(BasePath::find(name, None)?, &Request::new("", ""))
    }

    /// Opens a base model with the arithmetic and on the device of a request.
    pub fn open_for(path: BasePath, request: &Request) -> Result<Self> {
        tokenizer::prepare();
        let (model, gguf) = Model::open(&path, &request.compute.device, request.arithmetic)?;
        tracing::info!("base model `{}`, {}", path.path().display(), plural(model.config.layers, "layer"));
        Ok(Self { path, model, gguf, texts: Mutex::default() })
    }

    /// The tokenizer that comes with the model, if one does.
    pub fn text(&self, options: &TemplateOptions) -> Result<Option<Arc<TextModel>>> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.retain(|(_, text)| text.as_ref().is_none_or(|text| text.tokenizer.is_running()));
        if let Some((_, text)) = texts.iter().find(|(known, _)| known == options) {
            return Ok(text.clone());
        }
        let text = match &self.gguf {
            Some(metadata) => Some(TextModel::from_gguf(metadata, &self.model.path)?),
            None => TextModel::read(&self.model.path)?,
        };
        let text = text.map(|text| text.with(options)).transpose()?.map(Arc::new);
        texts.push((options.clone(), text.clone()));
        Ok(text)
    }
}

/// The base model that the user names, else the one that the adapter names.
pub fn find_base(name: Option<&str>, adapter: &Adapter) -> Result<BasePath> {
    match name {
        Some(name) => BasePath::find(name, None),
        None => base_of_config(&adapter.config, &adapter.path),
    }
}

fn base_of_config(config: &AdapterConfig, adapter: &Path) -> Result<BasePath> {
    let name = config.text("base_model_name_or_path");
    let name = name.ok_or_else(|| BaseError::Unnamed { adapter: adapter.into() })?;
    BasePath::find(name, config.text("revision"))
}

/// The base model that the user names, or else the adapter, if it is there. It is an input from then on, even of a
/// command that does not open it.
pub fn base_of(adapter: &Path, name: Option<&str>) -> Option<BasePath> {
    match name {
        Some(name) => BasePath::find(name, None).ok(),
        None => base_of_config(&AdapterConfig::read(adapter).ok()?, adapter).ok(),
    }
}

/// Opens an adapter. Where it has several stacks of layers and `stack` names none, the base model, which the user or else the
/// adapter names, tells which one is the decoder's, if it can be read.
pub fn open_adapter(path: &Path, stack: Option<&str>, base: Option<&str>) -> Result<Adapter> {
    let names = || -> Result<BaseNames> {
        let base = match base {
            Some(name) => BasePath::find(name, None)?,
            None => base_of_config(&AdapterConfig::read(path)?, path)?,
        };
        let BasePath::Folder(folder) = base else { return Ok(BaseNames::of_gguf(&OUTER)) };
        Ok(BaseNames::of_config(&files::read_model_config(&folder.join("config.json"))?, ""))
    };
    match Adapter::open(path, stack) {
        Err(Error::Adapter(AdapterError::SeveralStacks { .. })) => {
            let names = names().ok();
            Adapter::open_with(path, stack, &|stack| names.as_ref().is_some_and(|names| names.is_decoder(stack)))
        }
        opened => opened,
    }
}
