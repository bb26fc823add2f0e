//! Finding adapters and base models: a local path, or a name in the Hugging Face cache.
//!
//! [`find`] and [`BasePath::find`] look at this machine alone. `fetch` is the only module that opens connections: it brings what a name
//! stands for into the cache, before anything looks for it. `hf` starts Hugging Face's own program, which uploads.

pub mod cache;
#[cfg(feature = "hub")]
pub mod fetch;
pub mod hf;
pub mod name;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{BaseError, NameForm, Result, Sought};
use crate::files;
use crate::tensors::gguf_parts;
use cache::CachedRepository;
pub use name::MAIN;
use name::{HubName, is_address};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Adapter,
    /// A base model with its weights.
    Base,
    /// The configuration of a base model.
    BaseConfig,
}

/// A base model on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BasePath {
    /// A Hugging Face folder with `config.json` and safetensors.
    Folder(PathBuf),
    /// One GGUF file.
    Gguf(PathBuf),
}

impl BasePath {
    /// Finds a base model by a path or a name.
    pub fn find(name: &str, revision: Option<&str>) -> Result<Self> {
        let path = find_as(Sought::Base, name, revision)?;
        let base = Self::at(path.clone())?;
        files::inputs::declare(&path);
        Ok(base)
    }

    fn at(path: PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|_| is_file_of_model(&path)) {
            let reason = format!("it is one file of the model; name the folder `{}`", folder.display());
            return Err(BaseError::NotAModel { path, reason }.into());
        }
        if path.is_file() {
            return Ok(Self::Gguf(first_part(path)));
        }
        if path.join("config.json").is_file() {
            return Ok(Self::Folder(path));
        }
        // The parts of a split model are one.
        let models: BTreeSet<PathBuf> = gguf_files(&path).into_iter().map(first_part).collect();
        match models.into_iter().collect::<Vec<_>>().as_slice() {
            [one] => Ok(Self::Gguf(one.clone())),
            [] if path.join("adapter_config.json").is_file() => Err(not_a_model(path, "it is an adapter")),
            [] => Err(not_a_model(path, "it has no config.json and no GGUF file")),
            _ => Err(not_a_model(path, "it has several GGUF files; name one of them")),
        }
    }

    /// The folder or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }
}

/// Whether a path is a file of a Hugging Face folder: its configuration or its weights.
fn is_file_of_model(path: &Path) -> bool {
    let is_one =
        path.extension().is_some_and(|extension| ["safetensors", "json", "bin"].iter().any(|one| extension == *one));
    is_one && path.is_file() && path.with_file_name("config.json").is_file()
}

/// The first part of a split GGUF model, which has the metadata; any other file is its own.
fn first_part(path: PathBuf) -> PathBuf {
    gguf_parts(&path).swap_remove(0)
}

fn not_a_model(path: PathBuf, reason: &str) -> crate::Error {
    BaseError::NotAModel { path, reason: reason.into() }.into()
}

fn gguf_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).collect()
}

/// The path of an adapter's name: itself if it exists, else the snapshot of that name, or the file in it, in the Hugging Face cache. `revision`
/// counts where the name has none.
pub fn find(name: &str, revision: Option<&str>) -> Result<PathBuf> {
    find_as(Sought::Adapter, name, revision)
}

fn find_as(sought: Sought, name: &str, revision: Option<&str>) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.into());
    }
    let cache = cache::folder();
    let hub_name = HubName::parse(name);
    let not_found = || BaseError::NotFound { name: name.into(), cache: cache.clone(), sought, form: form(name) };
    let hub_name = hub_name.ok_or_else(not_found)?;
    let repository = CachedRepository::new(cache.clone(), &hub_name.repository);
    if !repository.path().is_dir() {
        return Err(not_found().into());
    }
    let revision = hub_name.revision.as_deref().or(revision).unwrap_or(MAIN);
    let snapshot = repository.snapshot(revision);
    let snapshot =
        snapshot.ok_or_else(|| BaseError::NoRevision { name: hub_name.repository, revision: revision.into() })?;
    match hub_name.file.map(|file| snapshot.join(file)) {
        None => Ok(snapshot),
        Some(file) if file.is_file() => Ok(file),
        Some(_) => Err(not_found().into()),
    }
}

/// What a name that was not found looks like.
fn form(name: &str) -> NameForm {
    match HubName::parse(name).filter(HubName::has_organisation) {
        Some(name) => NameForm::Hub { download: name.download_command() },
        None if is_address(name) => NameForm::Address { name: HubName::of_address(name).map(|name| name.to_string()) },
        None => NameForm::Path,
    }
}
