//! The validation samples: from the files that people have to token ids with a mark on the scored tokens.
//!
//! ```text
//! file ─▶ containers ─▶ records ─▶ forms ─▶ content ─▶ encode ─▶ tokens and marks ─▶ packing ─▶ passes of the model
//! ```
//! A new container is a file in `containers/`, a new form of sample one in `forms/`, and each a line in the table there.

mod added_tokens;
pub mod answer;
mod chat_files;
pub mod checks;
mod containers;
mod content;
pub mod draws;
pub mod encode;
pub mod ends;
pub mod excerpt;
mod forms;
mod gguf_tokenizer;
mod near;
mod overlaps;
pub mod packing;
pub mod places;
mod prompts;
pub mod read;
mod remarks;
mod splits;
mod template;
mod text_model;
pub mod tokenizer;
mod tokenizer_class;
mod turns;
pub mod unread;

use std::path::Path;

use crate::error::{Result, SampleError};
pub use answer::{GenerationTask, Prompt};
pub use content::{Message, SampleContent, TemplateContext};
pub use encode::{EncodeOptions, ScoredPart};
pub use forms::FieldNames;
pub use read::RawSample;
pub use template::{ChatTemplate, Date, Rendered, SpecialTokens};
pub use text_model::{TemplateOptions, TextModel};

/// What `--samples` reads, for `--help`.
pub fn accepted() -> String {
    let list = |names: Vec<&str>| match names.split_last() {
        Some((last, [only])) => format!("{only} or {last}"),
        Some((last, others)) if !others.is_empty() => format!("{}, or {last}", others.join(", ")),
        _ => names.concat(),
    };
    format!(
        "Validation samples: a file, the folder of a data set, or - for standard input; repeat it for several. {}, also compressed \
         (gzip, Zstandard), with {}",
        list(containers::all().collect()),
        list(forms::all().collect())
    )
}

/// One sample as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub ids: Vec<u32>,
    /// Which tokens are answer tokens, scored given all tokens before them. The first token never is.
    pub scored: Vec<bool>,
    /// The places of the answer tokens that end an answer, if it is known which do.
    pub ends: Vec<usize>,
    /// The line or, in a JSON array, the place in the file, counted from 1.
    pub line: usize,
    /// The number of its record among those of all files: the turns of a conversation that became a sample each, and the parts of
    /// a packed row, are of one record and no independent draws. [`checks::check`] gives near duplicates the same number.
    pub record: usize,
    /// The number of its slice; 0 if samples are not sliced.
    pub slice: usize,
}

impl Sample {
    /// The number of answer tokens.
    pub fn answers(&self) -> usize {
        self.scored.iter().skip(1).filter(|&&scored| scored).count()
    }

    /// The place of the first answer token; the end of a sample that has none.
    pub fn first_answer(&self) -> usize {
        (1..self.ids.len()).find(|&place| self.scored[place]).unwrap_or(self.ids.len())
    }

    /// The place of the last answer token; the end of a sample that has none.
    pub fn last_answer(&self) -> usize {
        (1..self.ids.len()).rev().find(|&place| self.scored[place]).unwrap_or(self.ids.len())
    }
}

/// What becomes of samples that are longer than the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongerSamples {
    Refused,
    Cut,
    /// They are computed, as transformers does where positions are not learned: angles and biases go on.
    Kept,
}

/// How many samples were longer than the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TooLong {
    pub cut: usize,
    pub kept: usize,
}

/// What the model requires of samples.
#[derive(Debug, Clone, Copy)]
pub struct SampleLimits {
    /// The longest sequence that the model was made for, in tokens.
    pub context: usize,
    pub longer: LongerSamples,
    /// The number of tokens that have an embedding.
    pub vocabulary: usize,
    /// The number of tokens that have logits.
    pub scored_vocabulary: usize,
}

/// Checks encoded samples against the model.
pub fn check(samples: &mut [Sample], limits: SampleLimits, path: &Path) -> Result<TooLong> {
    let mut too_long = TooLong::default();
    for sample in samples {
        let (tokens, line) = (sample.ids.len(), sample.line);
        if tokens > limits.context {
            match limits.longer {
                LongerSamples::Refused => {
                    let context = limits.context;
                    return Err(SampleError::TooLong { path: path.into(), line, tokens, context }.into());
                }
                LongerSamples::Cut => {
                    sample.ids.truncate(limits.context);
                    sample.scored.truncate(limits.context);
                    too_long.cut += 1;
                }
                LongerSamples::Kept => too_long.kept += 1,
            }
        }
        let mut ids = sample.ids.iter().copied();
        let mut scored = ids.clone().zip(&sample.scored).skip(1).filter(|(_, scored)| **scored).map(|(id, _)| id);
        let (vocabulary, scored_vocabulary) = (limits.vocabulary, limits.scored_vocabulary);
        let unknown = ids.find(|&id| id as usize >= vocabulary).map(|id| (id, vocabulary));
        let unknown =
            unknown.or_else(|| scored.find(|&id| id as usize >= scored_vocabulary).map(|id| (id, scored_vocabulary)));
        if let Some((id, vocabulary)) = unknown {
            return Err(SampleError::TokenOutOfVocabulary { path: path.into(), line, id, vocabulary }.into());
        }
        if sample.answers() == 0 {
            return Err(SampleError::NoAnswer { path: path.into(), line }.into());
        }
    }
    Ok(too_long)
}
