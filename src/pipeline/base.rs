//! The base model as evaluations share it: opened once, its tokenizer read once.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use super::Request;
use crate::error::Result;
use crate::hub::BasePath;
use crate::model::Model;
use crate::samples::TextModel;
use crate::tensors::GgufMetadata;

/// A base model that adapters are evaluated on.
pub struct Base {
    pub path: BasePath,
    pub model: Model,
    gguf: Option<GgufMetadata>,
    text: OnceCell<Option<Arc<TextModel>>>,
    warned: RefCell<HashSet<String>>,
}

impl Base {
    /// Opens a base model with the arithmetic and on the device of a request.
    pub fn open(path: BasePath, request: &Request) -> Result<Self> {
        let (model, gguf) = Model::open(&path, &request.sweep.device, request.arithmetic)?;
        Ok(Self { path, model, gguf, text: OnceCell::new(), warned: RefCell::default() })
    }

    /// Says once what would be said for each adapter.
    pub fn warn(&self, text: String) {
        if self.warned.borrow_mut().insert(text.clone()) {
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
