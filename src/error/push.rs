//! Errors of uploading adapters to the Hugging Face Hub.

use std::io;
use std::path::PathBuf;

use super::Kind;
use crate::format::first_names;

/// Why an adapter is not uploaded. No message has a token.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("`{name}` is not the name of a repository")]
    Repository { name: String },
    #[error("`{}` holds `{weights}`, which lora-slim did not write: there is no `{report}` beside it", path.display())]
    NotOurs { path: PathBuf, weights: &'static str, report: &'static str },
    #[error("`{}` holds what is no part of an adapter: {}", path.display(), first_names(names, 3))]
    MoreThanAnAdapter { path: PathBuf, names: Vec<String> },
    #[error("`{}` is not an adapter folder, but below it are adapters: {}", path.display(), first_names(below, 3))]
    AdaptersBelow { path: PathBuf, below: Vec<String> },
    #[error("`{name}` cannot be uploaded with `--offline`")]
    Offline { name: String },
    #[error("the program `{tool}` is not on this machine")]
    NoTool { tool: &'static str },
    #[error("the program `{tool}` cannot be started: {source}")]
    NotStarted { tool: &'static str, source: io::Error },
    #[error("`{tool}` did not upload `{name}` ({ended}): {said}")]
    Refused { tool: &'static str, name: String, ended: String, said: String },
}

impl PushError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Repository { .. } | Self::Offline { .. } | Self::NoTool { .. } => Kind::Usage,
            Self::NotOurs { .. } | Self::MoreThanAnAdapter { .. } | Self::AdaptersBelow { .. } => Kind::BadInput,
            Self::NotStarted { .. } | Self::Refused { .. } => Kind::Io,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Repository { .. } => "name it with its owner: `user/name`",
            Self::NotOurs { .. } => "upload it with `hf upload`, or write it anew with `lora-slim cut`",
            Self::MoreThanAnAdapter { .. } => {
                "`lora-slim cut FOLDER --boundary all -o OUT` writes the adapter alone; push OUT"
            }
            Self::AdaptersBelow { path, below } => {
                let first = below.first().map_or(path.clone(), |name| path.join(name));
                let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Some(format!("push each by itself: `lora-slim push {} user/{name}`", first.display()));
            }
            Self::Offline { .. } => "leave out `--offline`, or look at what would be uploaded with `--dry-run`",
            Self::NoTool { .. } => "install it: `pip install -U huggingface_hub`, then `hf auth login`",
            Self::NotStarted { .. } => return None,
            Self::Refused { .. } => "log in with `hf auth login`, or set `HF_TOKEN` to a token that may write",
        };
        Some(hint.into())
    }
}
