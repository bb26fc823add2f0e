//! The base model, which evaluations share: it is opened once, and its tokenizer read once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Request;
use crate::adapter::Adapter;
use crate::error::{BaseError, Result};
use crate::hub::BasePath;
use crate::model::Model;
use crate::samples::TextModel;
use crate::tensors::GgufMetadata;

/// A base model that adapters are evaluated on.
pub struct Base {
    pub path: BasePath,
    pub model: Model,
    gguf: Option<GgufMetadata>,
    text: OnceLock<Option<Arc<TextModel>>>,
    warnings: Mutex<HashSet<String>>,
}

impl Base {
    /// Opens a base model, a folder, a GGUF file or a name in the Hugging Face cache, to share it among evaluations.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_for(BasePath::find(name, None)?, &Request::new("", ""))
    }

    /// Opens a base model with the arithmetic and on the device of a request.
    pub fn open_for(path: BasePath, request: &Request) -> Result<Self> {
        let (model, gguf) = Model::open(&path, &request.compute.device, request.arithmetic)?;
        Ok(Self { path, model, gguf, text: OnceLock::new(), warnings: Mutex::default() })
    }

    /// Logs a warning, but only once, even if several adapters give it.
    pub fn warn(&self, text: String) {
        if self.warnings.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
            tracing::warn!("{text}");
        }
    }

    /// The tokenizer that comes with the model, if one does.
    pub fn text(&self) -> Result<Option<Arc<TextModel>>> {
        if let Some(text) = self.text.get() {
            return Ok(text.clone());
        }
        let text = match &self.gguf {
            Some(metadata) => Some(TextModel::from_gguf(metadata, &self.model.path)?),
            None => TextModel::read(&self.model.path)?,
        };
        Ok(self.text.get_or_init(|| text.map(Arc::new)).clone())
    }
}

/// The base model that the user names, else the one that the adapter names.
pub fn find_base(name: Option<&str>, adapter: &Adapter) -> Result<BasePath> {
    match name {
        Some(name) => BasePath::find(name, None),
        None => {
            let name = adapter.config.text("base_model_name_or_path");
            let name = name.ok_or_else(|| BaseError::Unnamed { adapter: adapter.path.clone() })?;
            BasePath::find(name, adapter.config.text("revision"))
        }
    }
}
