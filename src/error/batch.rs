//! Errors of batches.

use std::path::PathBuf;

use super::Kind;
use crate::format::plural;

/// Work on many adapters in one run.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("`{}` has no adapters", path.display())]
    NoAdapters { path: PathBuf },
    #[error("{}:{line}: {reason}", path.display())]
    Manifest { path: PathBuf, line: usize, reason: String },
    #[error("the output `{name}` has no place: it {taken_by}")]
    NameTaken { name: String, taken_by: String },
    #[error("the path `{}` is not Unicode, so no result could name it", path.display())]
    Name { path: PathBuf },
    #[error("the link `{}` is not followed: it leads out of the folder", path.display())]
    LeadsOut { path: PathBuf },
    #[error("`{given}` is not a part of a batch: {reason}")]
    Partition { given: String, reason: String },
    #[error("the options of `{name}` do not work: {reason}")]
    Options { name: String, reason: String },
    #[error("there is nothing to do: no samples to choose by, and no boundary to cut at")]
    NothingToDo,
    #[error("{failed} of {} did not succeed; `{}` says why", plural(*jobs, "adapter"), results.display())]
    NotAllDone { failed: usize, jobs: usize, results: PathBuf, kind: Kind },
    #[error("{failed} of {} cannot be processed", plural(*jobs, "adapter"))]
    CannotBeDone { failed: usize, jobs: usize, kind: Kind },
}

impl BatchError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NotAllDone { kind, .. } | Self::CannotBeDone { kind, .. } => *kind,
            Self::NoAdapters { .. } | Self::Manifest { .. } | Self::Name { .. } | Self::LeadsOut { .. } => {
                Kind::BadInput
            }
            Self::NameTaken { .. } | Self::Partition { .. } | Self::Options { .. } | Self::NothingToDo => Kind::Usage,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoAdapters { .. } => {
                "an adapter is a folder with an adapter_config.json; hidden folders are not searched"
            }
            Self::Manifest { .. } => {
                "a line is a JSON object with adapter and, optionally, base, samples, output and options"
            }
            Self::NameTaken { .. } => "rename it, or give each job its own place with a manifest and `output`",
            Self::Name { .. } => "rename it",
            Self::Options { .. } => {
                "with samples they are the flags of `lora-slim slim`, without samples those of `lora-slim cut`"
            }
            Self::LeadsOut { .. } => "a manifest can name what it leads to",
            Self::NothingToDo => "give `--samples FILE`, `--boundary N`, or another flag of `lora-slim cut`",
            Self::Partition { .. } | Self::NotAllDone { .. } | Self::CannotBeDone { .. } => return None,
        };
        Some(hint.into())
    }
}
