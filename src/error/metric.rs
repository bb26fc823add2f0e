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
    #[error("the scorer `{command}` failed: {problem}")]
    Scorer { command: String, problem: String },
    #[error("there is no program that scores answers")]
    NoScorer,
    #[error("generating an answer needs at least {needed} bytes of memory, and the budget is {budget}")]
    Memory { needed: u64, budget: u64 },
}

impl MetricError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Memory { .. } | Self::NoScorer => Kind::Usage,
            Self::NoTokenizer { .. } | Self::NoPrompt { .. } | Self::Scorer { .. } => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTokenizer { .. } => "name a tokenizer.json with `--tokenizer`".into(),
            Self::NoPrompt { .. } => {
                "give samples with a prompt and a completion, or leave out `--metric`, `--by` and `--own-answers`"
                    .into()
            }
            Self::Scorer { .. } => {
                "for each line of its input, a JSON object, it has to write a line with a number, and to flush its \
                output; `--scorer-limit` gives it more time"
                    .into()
            }
            Self::NoScorer => "name one with `--scorer`".into(),
            Self::Memory { needed, .. } => format!("pass `--memory {needed}`, or a smaller `--max-new-tokens`"),
        })
    }
}
