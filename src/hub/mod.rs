//! Finding adapters and base models: a local path, or a name in the Hugging Face cache.
//!
//! The cache is read as the hub's own client leaves it, `models--ORG--NAME/refs/REVISION` naming a folder below
//! `snapshots`. Nothing is ever downloaded.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{BaseError, Result};
use crate::files;
use crate::tensors::gguf_parts;

/// The longest file in `refs` that is read, in bytes. It holds the hash of a commit.
const LONGEST_REF: u64 = 1 << 10;

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
        let path = find(name, revision)?;
        let base = Self::at(path.clone())?;
        files::inputs::declare(&path);
        Ok(base)
    }

    fn at(path: PathBuf) -> Result<Self> {
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

/// The path of a name: itself if it exists, else the snapshot of that name in the Hugging Face cache.
pub fn find(name: &str, revision: Option<&str>) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.into());
    }
    let cache = hub_cache();
    let repository = cache.join(format!("models--{}", name.replace('/', "--")));
    if !is_repository_name(name) || !repository.is_dir() {
        return Err(BaseError::NotFound { name: name.into(), cache }.into());
    }
    let revision = revision.unwrap_or("main");
    // A revision is a branch or tag, whose file in `refs` holds a commit, or a commit itself.
    let commit = files::read_text(&repository.join("refs").join(revision), LONGEST_REF).unwrap_or(revision.into());
    let snapshot = repository.join("snapshots").join(commit.trim());
    if is_plain(revision) && is_plain(commit.trim()) && snapshot.is_dir() {
        return Ok(snapshot);
    }
    Err(BaseError::NoRevision { name: name.into(), revision: revision.into() }.into())
}

/// Whether this is `NAME` or `ORG/NAME`, without parts that could lead out of the cache.
fn is_repository_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && is_plain(part))
}

fn is_plain(name: &str) -> bool {
    !name.split('/').any(|part| part == "..") && !name.starts_with('/')
}

/// `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
fn hub_cache() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| Some(variable("HF_HOME")?.join("hub")))
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cache/huggingface/hub"))
}
