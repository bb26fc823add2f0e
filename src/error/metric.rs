//! Errors of generating answers and scoring them.

use std::path::PathBuf;

use super::Kind;

/// Generating answers and scoring them.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    #[error("metrics compare texts, and no tokenizer was found for `{}`", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("{}:{line}: there is no prompt to answer: everything up to the last answer is scored", path.display())]
    NoPrompt { path: PathBuf, line: usize },
    #[error("generating an answer needs at least {needed} bytes of memory, and the budget is {budget}")]
    Memory { needed: u64, budget: u64 },
}

impl MetricError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Memory { .. } => Kind::Usage,
            Self::NoTokenizer { .. } | Self::NoPrompt { .. } => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTokenizer { .. } => "name a tokenizer.json with `--tokenizer`".into(),
            Self::NoPrompt { .. } => "give samples with a prompt and a completion, or leave out `--metric`".into(),
            Self::Memory { needed, .. } => format!("pass `--memory {needed}`, or a smaller `--max-new-tokens`"),
        })
    }
}
