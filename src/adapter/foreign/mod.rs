//! Adapters that do not lie in a folder as PEFT saves them: other trainers' layouts, and PEFT's own with something missing.
//!
//! A [`Layout`] recognises such files and says which PEFT adapter they stand for, tensor by tensor. A layout is one file and one
//! line of `LAYOUTS`. Where names or an order of rows can mean two things, it refuses and says why: `lora-slim fix` never
//! guesses.

mod folder;
mod kohya;
mod mapping;
mod mlx;
mod nemo;
mod peft;
mod torchtune;

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{AdapterError, Error, FixError, Result};
pub use folder::StoredAdapter;
pub use mapping::{Alpha, LoraSettings, MappedConfig, MappedTensor, Mapping, ValueOrder};

/// A way in which adapters are stored.
pub trait Layout: Debug + Sync {
    /// What people call it: `MLX-LM`.
    fn name(&self) -> &'static str;

    /// Whether files are of this layout.
    fn recognises(&self, stored: &StoredAdapter) -> bool;

    /// What the files are, in words that follow "it is". `None` for an adapter that needs no mending to be opened.
    fn describe(&self, _stored: &StoredAdapter) -> Option<String> {
        Some(format!("an adapter in the layout of {}", self.name()))
    }

    /// The PEFT adapter that the files stand for. Its modules have their names in the text model of transformers; the base model
    /// may have them elsewhere.
    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping>;
}

/// What the user says of an adapter beside its files.
#[derive(Debug, Default)]
pub struct Given {
    pub base: Option<BaseShapes>,
    pub alpha: Option<f64>,
}

/// What layouts need of the base model: how the rows of its attention are made up.
#[derive(Debug, Clone)]
pub struct BaseShapes {
    pub path: PathBuf,
    /// `model_type` of its decoder.
    pub family: String,
    pub heads: usize,
    /// Of keys and values.
    pub key_heads: usize,
    /// The rows of one head.
    pub head_size: usize,
}

/// PEFT comes last: its part names are the least particular.
static LAYOUTS: [&dyn Layout; 5] = [&mlx::MlxLm, &torchtune::Torchtune, &nemo::Nemo, &kohya::Kohya, &peft::Peft];

/// The layout of stored files, if it is a known one.
pub fn layout_of(stored: &StoredAdapter) -> Option<&'static dyn Layout> {
    LAYOUTS.into_iter().find(|layout| layout.recognises(stored))
}

/// The names of the layouts, for messages.
pub fn names() -> Vec<&'static str> {
    LAYOUTS.iter().map(|layout| layout.name()).collect()
}

/// The archive of NeMo that a path is or holds: a tar file with the tensors and a configuration in YAML.
pub fn archive(path: &Path) -> Option<PathBuf> {
    let is_archive = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|ending| ending == "nemo");
    let inside = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    [path.to_path_buf()].into_iter().chain(inside).find(is_archive)
}

/// The error of opening an adapter; where `lora-slim fix` can read what lies there, an error that says so.
pub fn explain(path: &Path, error: Error) -> Error {
    use AdapterError::{ConfigValue, Empty, NoLayers, NotAnAdapter, NotPeft};
    let may_be_foreign = matches!(
        error,
        Error::Adapter(NotAnAdapter { .. } | NotPeft { .. } | Empty { .. } | NoLayers { .. } | ConfigValue { .. })
    );
    let stored = if may_be_foreign { StoredAdapter::open(path).ok().flatten() } else { None };
    let what = stored.and_then(|stored| layout_of(&stored)?.describe(&stored));
    match what {
        Some(what) => AdapterError::Foreign { path: path.into(), what }.into(),
        None => match archive(path).filter(|_| may_be_foreign) {
            Some(path) => FixError::Archive { path }.into(),
            None => error,
        },
    }
}
