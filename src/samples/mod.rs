//! The validation samples: from the files that people have to token ids with a mark on the tokens that count.
//!
//! [`read`] knows forms of samples, [`encode`] turns text into tokens, [`batch`] lays tokens out for the model. A new
//! form of sample is a new arm in [`read`], and nothing else.

pub mod answer;
pub mod batch;
pub mod encode;
pub mod excerpt;
mod gguf_tokenizer;
pub mod read;
mod template;
mod text_model;

use std::path::Path;

use crate::error::{Result, SampleError};
pub use answer::{Prompt, Task};
pub use read::{Content, Message, Raw, ReadOptions};
pub use template::ChatTemplate;
pub use text_model::TextModel;

/// One sample as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub ids: Vec<u32>,
    /// Which tokens are answer tokens: they are scored, given all tokens before them. The first never is.
    pub scored: Vec<bool>,
    /// The line (or, in a JSON array, the place) in the file, counted from 1.
    pub line: usize,
}

impl Sample {
    /// The number of answer tokens.
    pub fn answers(&self) -> usize {
        self.scored.iter().skip(1).filter(|&&scored| scored).count()
    }

    /// The place of the first answer token; the end of the sample where it has none.
    pub fn first_answer(&self) -> usize {
        (1..self.ids.len()).find(|&place| self.scored[place]).unwrap_or(self.ids.len())
    }

    /// The place of the last answer token; the end of the sample where it has none.
    pub fn last_answer(&self) -> usize {
        (1..self.ids.len()).rev().find(|&place| self.scored[place]).unwrap_or(self.ids.len())
    }
}

/// What is asked of the samples before they go to the model.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest sequence that the model takes.
    pub context: usize,
    /// Cut longer samples at the context instead of refusing them.
    pub truncate: bool,
    /// The tokens that have an embedding, and those that have logits.
    pub vocabulary: usize,
    pub words: usize,
}

/// Checks encoded samples against the model. Returns how many were cut.
pub fn check(samples: &mut [Sample], limits: Limits, path: &Path) -> Result<usize> {
    let mut truncated = 0;
    for sample in samples {
        let (tokens, line) = (sample.ids.len(), sample.line);
        if tokens > limits.context {
            if !limits.truncate {
                let context = limits.context;
                return Err(SampleError::TooLong { path: path.into(), line, tokens, context }.into());
            }
            sample.ids.truncate(limits.context);
            sample.scored.truncate(limits.context);
            truncated += 1;
        }
        if let Some(&id) = sample.ids.iter().find(|&&id| id as usize >= limits.vocabulary) {
            let vocabulary = limits.vocabulary;
            return Err(SampleError::TokenOutOfVocabulary { path: path.into(), line, id, vocabulary }.into());
        }
        let scored = sample.ids.iter().zip(&sample.scored).skip(1).filter(|(_, scored)| **scored);
        if let Some(id) = scored.map(|(&id, _)| id).find(|&id| id as usize >= limits.words) {
            let vocabulary = limits.words;
            return Err(SampleError::TokenOutOfVocabulary { path: path.into(), line, id, vocabulary }.into());
        }
        if sample.answers() == 0 {
            return Err(SampleError::NoAnswer { path: path.into(), line }.into());
        }
    }
    Ok(truncated)
}
