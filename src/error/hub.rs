//! Errors of fetching from the Hugging Face Hub.

use std::path::PathBuf;

use super::Kind;
use crate::format::{bytes, first_names};

/// Fetching adapters and base models. `hub` is the address of the hub, and `name` a repository on it. No message has a token, or the
/// address that a file was fetched from, which may hold a signature.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("`{variable}` {problem}")]
    Setting { variable: &'static str, problem: &'static str },
    #[error("`{name}` is neither a local path nor a repository at {hub}")]
    NotThere { name: String, hub: String, has_token: bool },
    #[error("`{name}` at {hub} has no revision `{revision}`")]
    NoRevision { name: String, hub: String, revision: String },
    #[error("`{name}` at {hub} has no file `{file}`")]
    NoFile { name: String, hub: String, file: String },
    #[error("access to `{name}` at {hub} has to be granted by its owner")]
    Gated { name: String, hub: String, has_token: bool },
    #[error("{hub} does not accept the token for `{name}`")]
    Token { name: String, hub: String },
    #[error("`{name}` at {hub} is no adapter: it has {missing}")]
    NotAnAdapter { name: String, hub: String, missing: &'static str },
    #[error("`{name}` at {hub} is no base model that can be read: it has {problem}")]
    NotABase { name: String, hub: String, problem: &'static str },
    #[error("`{name}` at {hub} has several GGUF models: {}", first_names(files, 3))]
    SeveralGguf { name: String, hub: String, files: Vec<String> },
    #[error("`{name}` is not on this machine, and {hub} cannot be reached: {reason}")]
    Unreachable { name: String, hub: String, reason: String },
    #[error("`{name}` is not on this machine, and {hub} has a problem of its own (status {status})")]
    Server { name: String, hub: String, status: u16 },
    #[error("`{file}` of `{name}` did not arrive from {hub}: {reason}")]
    Cut { name: String, hub: String, file: String, reason: String },
    #[error("`{file}` of `{name}` arrived damaged from {hub}: its {what} is another")]
    Damaged { name: String, hub: String, file: String, what: &'static str },
    #[error("{hub} answers a question about `{name}` with what a hub does not say: {reason}")]
    Answer { name: String, hub: String, reason: String },
    #[error("`{name}` needs {} more in `{}`, which has {} free", bytes(*needed), cache.display(), bytes(*free))]
    NoSpace { name: String, cache: PathBuf, needed: u64, free: u64 },
}

impl HubError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. } => Kind::Usage,
            Self::NotThere { .. }
            | Self::NoRevision { .. }
            | Self::NoFile { .. }
            | Self::Gated { .. }
            | Self::Token { .. }
            | Self::NotAnAdapter { .. }
            | Self::NotABase { .. }
            | Self::SeveralGguf { .. }
            | Self::Answer { .. } => Kind::BadInput,
            Self::Unreachable { .. }
            | Self::Server { .. }
            | Self::Cut { .. }
            | Self::Damaged { .. }
            | Self::NoSpace { .. } => Kind::Io,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Setting { variable, .. } => format!("correct or unset `{variable}`"),
            Self::NotThere { has_token: false, .. } => {
                "check the path or the name; a private repository needs a token (`hf auth login`, or `HF_TOKEN`)".into()
            }
            Self::NotThere { .. } => {
                "check the path or the name, and that the token may read the repository if it is private".into()
            }
            Self::NoRevision { name, .. } => format!("name a branch, a tag or a commit: `{name}@main`"),
            Self::NoFile { name, .. } => format!("look at the files of `{name}` on the hub"),
            Self::Gated { name, hub, has_token: false } => {
                format!("ask for access at {hub}/{name}, then log in (`hf auth login`) or set `HF_TOKEN`")
            }
            Self::Gated { name, hub, .. } => {
                format!("ask for access at {hub}/{name} with the account of the token, and wait until it is granted")
            }
            Self::Token { .. } => "log in anew (`hf auth login`), or set `HF_TOKEN` to a token that is valid".into(),
            Self::NotAnAdapter { .. } => "an adapter lies at the top of its repository; name a base model with `--base`".into(),
            Self::NotABase { .. } => "name a repository with safetensors or GGUF, or a local folder".into(),
            Self::SeveralGguf { name, files, .. } => {
                format!("name one of them: `{name}/{}`", files.first().map_or("", String::as_str))
            }
            Self::Unreachable { .. } => {
                "run the command again when the network is there, or name a local path; `HF_ENDPOINT` names another hub, and \
                 `HTTPS_PROXY` a proxy"
                    .into()
            }
            Self::Server { .. } | Self::Damaged { .. } => "run the command again later".into(),
            Self::Cut { .. } => "run the command again: what has arrived is kept".into(),
            Self::NoSpace { .. } => "make space, or let `HF_HUB_CACHE` name a folder on another disk".into(),
            Self::Answer { .. } => "check `HF_ENDPOINT`, and whether a proxy answers in its place".into(),
        };
        Some(match self.full_precision() {
            Some(full) => format!(
                "{hint}; `--base {full}`, the model in full precision that it was probably made of, leads to other losses, but to \
                 about the same boundary"
            ),
            None => hint,
        })
    }

    /// The model that a quantised one was made of, where the quantised one cannot be had.
    fn full_precision(&self) -> Option<&str> {
        match self {
            Self::NotThere { name, .. }
            | Self::Gated { name, .. }
            | Self::NotABase { name, .. }
            | Self::Unreachable { name, .. } => super::base::full_precision(name),
            _ => None,
        }
    }
}
