//! The Hugging Face cache, as the hub's own client leaves it: `models--ORG--NAME/refs/REVISION` names a folder below `snapshots`, whose
//! files are links to `blobs`.

use std::env;
use std::path::{Path, PathBuf};

use super::name::is_inner_path;
use crate::files;

/// The longest file in `refs` that is read, in bytes. It holds the hash of a commit.
const LONGEST_REF: u64 = 1 << 10;

/// A repository of models in the cache, which need not exist.
#[derive(Debug, Clone)]
pub struct CachedRepository {
    cache: PathBuf,
    folder: String,
}

impl CachedRepository {
    pub fn new(cache: PathBuf, repository: &str) -> Self {
        Self { cache, folder: format!("models--{}", repository.replace('/', "--")) }
    }

    pub fn path(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    /// The snapshot of a revision: a branch or tag, whose file in `refs` holds a commit, or a commit itself.
    pub fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        if !is_inner_path(revision) {
            return None;
        }
        let commit = files::read_text(&self.path().join("refs").join(revision), LONGEST_REF).unwrap_or(revision.into());
        let snapshot = self.snapshot_of(commit.trim());
        (is_inner_path(commit.trim()) && snapshot.is_dir()).then_some(snapshot)
    }

    /// Where the files of a commit are.
    pub fn snapshot_of(&self, commit: &str) -> PathBuf {
        self.path().join("snapshots").join(commit)
    }

    /// The folder of the lock files.
    #[cfg(feature = "hub")]
    pub fn locks(&self) -> PathBuf {
        self.cache.join(".locks").join(&self.folder)
    }
}

/// `HF_HUB_CACHE`, else `HF_HOME/hub`.
pub fn folder() -> PathBuf {
    path_of("HF_HUB_CACHE").or_else(|| path_of("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home().join("hub"))
}

/// `HF_HOME`, else `~/.cache/huggingface`.
pub fn home() -> PathBuf {
    path_of("HF_HOME")
        .or_else(|| Some(path_of("XDG_CACHE_HOME")?.join("huggingface")))
        .unwrap_or_else(|| env::home_dir().unwrap_or_default().join(Path::new(".cache/huggingface")))
}

/// The path in a variable of the environment.
pub fn path_of(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
