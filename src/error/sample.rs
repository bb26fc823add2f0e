//! Errors of the samples and their tokens.

use std::path::PathBuf;

use super::Kind;
use crate::format::bytes;

/// Reading samples and turning them into tokens.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("the samples `{}` do not exist", path.display())]
    NotThere { path: PathBuf, is_remote: bool },
    #[error("`{}` holds no samples", path.display())]
    Empty { path: PathBuf },
    #[error("`{}` holds no samples to score: {left_out}", path.display())]
    AllLeftOut { path: PathBuf, left_out: String },
    #[error("{}:{line}: {problem}", path.display())]
    Malformed { path: PathBuf, line: usize, problem: String },
    #[error("{}:{line}: no known form of sample has the fields {fields}", path.display())]
    UnknownForm {
        path: PathBuf,
        line: usize,
        fields: String,
        /// What was recognised, and what makes it readable.
        hint: String,
    },
    #[error("{}:{line}: `{field}` changes the meaning of the sample and is not supported: {reason}", path.display())]
    Unsupported { path: PathBuf, line: usize, field: String, reason: String },
    #[error("`{}` is {kind}", path.display())]
    UnknownContainer { path: PathBuf, kind: &'static str },
    #[error("`{}` has several splits: {splits}", path.display())]
    SeveralSplits { path: PathBuf, splits: String },
    #[error("`{}` has no split `{split}`{}", path.display(), if splits.is_empty() { String::new() } else { format!("; it has {splits}") })]
    NoSplit { path: PathBuf, split: String, splits: String },
    #[error("the folder `{}` holds no files of samples", path.display())]
    NoFiles { path: PathBuf },
    #[error("the folder `{}` holds several sets of samples: {sets}", path.display())]
    SeveralSets { path: PathBuf, sets: String },
    #[error("{}:{line}: no answer token is left to score", path.display())]
    NoAnswer { path: PathBuf, line: usize },
    #[error("{}:{line}: the sample has {tokens} tokens, more than the model's context of {context}", path.display())]
    TooLong { path: PathBuf, line: usize, tokens: usize, context: usize },
    #[error("{}:{line}: token id {id} is outside the model's vocabulary of {vocabulary}", path.display())]
    TokenOutOfVocabulary { path: PathBuf, line: usize, id: u32, vocabulary: usize },
    #[error("no tokenizer was found for `{}`", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("cannot use the tokenizer `{}`: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("cannot run the tokenizer `{}` in a process of its own: {source}", path.display())]
    TokenizerProcess { path: PathBuf, source: std::io::Error },
    #[error(
        "{}:{line}: the sample has {} of text, more than the {} that are tokenised at once",
        path.display(), bytes(*length), bytes(*most)
    )]
    LongText { path: PathBuf, line: usize, length: u64, most: u64 },
    #[error("`{}` has no chat template", path.display())]
    NoChatTemplate { path: PathBuf },
    #[error("{}:{line}: the sample is no conversation, so it has no turns of the assistant", path.display())]
    NoConversation { path: PathBuf, line: usize },
    #[error("the chat template `{}` is not UTF-8 text", path.display())]
    TemplateNotText { path: PathBuf },
    #[error("{}:{line}: the chat template failed: {reason}", path.display())]
    ChatTemplate { path: PathBuf, line: usize, reason: String },
}

impl SampleError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::TokenizerProcess { .. } => Kind::Io,
            _ => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownForm { hint, .. } => hint,
            Self::NotThere { is_remote: true, .. } => {
                "data sets are not downloaded; `hf download ORG/NAME --repo-type dataset --local-dir FOLDER` does it, and `--samples \
                 FOLDER` reads them"
            }
            Self::UnknownContainer { .. } => "convert it to JSON lines, CSV or Parquet",
            Self::SeveralSplits { .. } => "name one with `--split`",
            Self::NoSplit { splits, .. } if splits.is_empty() => {
                "leave out `--split`, which chooses among the splits of a data set's folder or file"
            }
            Self::NoFiles { .. } => {
                "samples are in files whose names end in .jsonl, .json, .csv, .tsv, .parquet or .arrow"
            }
            Self::SeveralSets { .. } => "name the folder of one of them",
            Self::NoAnswer { .. } => {
                "completions, turns whose role is `assistant`, and tokens whose label is not -100 are scored, unless the data says \
                 otherwise"
            }
            Self::TooLong { .. } | Self::LongText { .. } => {
                "shorten the sample, or cut all that are too long with `--truncate`"
            }
            Self::NoTokenizer { .. } => {
                "name a tokenizer.json with `--tokenizer`, or give samples with `input_ids` and `labels`"
            }
            Self::Tokenizer { path, .. } if path.extension().is_some_and(|end| end == "gguf") => {
                "name the model's tokenizer.json, or its folder, with `--tokenizer`"
            }
            Self::NoConversation { .. } => {
                "leave out `--assistant-only`, or run prompts and completions through the chat template with `--chat`"
            }
            Self::NoChatTemplate { .. } => {
                "name a tokenizer folder that has one with `--tokenizer`, or a file with `--chat-template`, or give samples with \
                 prompt and completion"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}
