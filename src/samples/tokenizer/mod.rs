//! The tokenizer of a model: text to tokens and back.
//!
//! The `tokenizers` library does the work, and nothing bounds what it takes: a file of a few lines can make it double a text sixty
//! times. So the program asks it in a process of its own, whose memory, stack and time are limited (`process.rs`). In other programs,
//! which use this crate as a library, it runs in their process, unless they name the program
//! ([`isolate_tokenizers`](crate::isolate_tokenizers)).

mod beginning;
mod engine;
mod limits;
mod process;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokenizers::AddedToken;

pub use engine::{TokenizedText, TokenizerFacts};
pub use process::{
    COMMAND, interrupt, isolate_by, isolate_in_this_program, isolate_tokenizers, prepare, resume, serve,
};

use crate::error::{ComputeError, Result, SampleError};
use engine::{Answer, EncodeHow, Engine, Question};
use limits::Size;
use process::{Silence, TokenizerProcess};

/// The longest text that is tokenised at once, and that tokens are decoded to, in bytes.
pub const LONGEST_TEXT: usize = 4 << 20;

/// A tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    /// The file that it was read from, for messages.
    path: PathBuf,
    facts: TokenizerFacts,
    place: Host,
}

/// What is wanted of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeAs {
    /// Its tokens.
    Plain,
    /// Its tokens, with those that belong before and behind each text.
    WithSpecial,
    /// Its tokens, with the characters that each stands for.
    Offsets,
}

/// Where the library runs.
#[derive(Debug)]
enum Host {
    Here(Box<Mutex<Engine>>),
    InAProcess(Mutex<TokenizerProcess>),
}

impl Question<'_> {
    /// What is to be worked on.
    fn size(&self) -> Size {
        match self {
            Self::Load(json) => Size::File(json.len()),
            Self::Add { tokens, .. } => Size::File(tokens.iter().map(|token| token.content.len() + 100).sum()),
            Self::Encode { text, .. } => Size::Text(text.len()),
            Self::Decode { ids, .. } => Size::Text(8 * ids.len()),
            Self::Id { token } => Size::Text(token.len()),
        }
    }
}

impl Tokenizer {
    /// Reads a tokenizer.json, whose text is `json`. Padding, truncation and dropout, which would change samples, are off.
    pub fn read(json: &[u8], path: &Path) -> Result<Self> {
        if json.len() as u64 > process::LONGEST_QUESTION {
            let reason = format!("it would be a tokenizer.json of {}", crate::format::bytes(json.len() as u64));
            return Err(SampleError::Tokenizer { path: path.into(), reason }.into());
        }
        let place = match process::program() {
            None => Host::Here(Box::default()),
            Some(program) => {
                let process = TokenizerProcess::prepared_or_new(program).map_err(|silence| silent(path, silence))?;
                Host::InAProcess(Mutex::new(process))
            }
        };
        let mut tokenizer = Self { path: path.into(), facts: TokenizerFacts::default(), place };
        tokenizer.facts = tokenizer.ask_facts(&Question::Load(json))?;
        if tokenizer.facts.program == env!("CARGO_PKG_VERSION") {
            return Ok(tokenizer);
        }
        let reason = format!("the program that runs it is of version {:?}", tokenizer.facts.program);
        Err(SampleError::Tokenizer { path: path.into(), reason }.into())
    }

    /// Adds tokens. With `splits_special`, special tokens in a text are split like other text.
    pub fn add(&mut self, tokens: Vec<AddedToken>, splits_special: bool) -> Result<()> {
        self.facts = self.ask_facts(&Question::Add { tokens, splits_special })?;
        Ok(())
    }

    /// What the file says.
    pub fn facts(&self) -> &TokenizerFacts {
        &self.facts
    }

    /// The tokens of a text of up to [`LONGEST_TEXT`] bytes.
    pub fn encode(&self, text: &str, wanted: EncodeAs) -> Result<TokenizedText> {
        self.encode_first(text, wanted, usize::MAX)
    }

    /// The first `most` tokens of a text whose beginning tells them; `None` where all of the text has to be tokenised.
    pub fn encode_beginning(&self, text: &str, wanted: EncodeAs, most: usize) -> Result<Option<TokenizedText>> {
        if !beginning::tells(&self.facts) {
            return Ok(None);
        }
        let enough = most.saturating_add(beginning::MORE_TOKENS);
        for part in beginning::longer_and_longer(text, enough) {
            let tokens = self.encode_first(part, wanted, most)?;
            if tokens.total >= enough {
                return Ok(Some(tokens));
            }
        }
        Ok(None)
    }

    fn encode_first(&self, text: &str, wanted: EncodeAs, most: usize) -> Result<TokenizedText> {
        let how =
            EncodeHow { adds_special: wanted == EncodeAs::WithSpecial, offsets: wanted == EncodeAs::Offsets, most };
        match self.ask(&Question::Encode { text, how })? {
            Answer::Tokens(tokens) => Ok(tokens),
            other => Err(self.unexpected(other)),
        }
    }

    /// The text of tokens.
    pub fn decode(&self, ids: &[u32], skips_special: bool) -> Result<String> {
        if ids.is_empty() {
            return Ok(String::new());
        }
        match self.ask(&Question::Decode { ids, skips_special })? {
            Answer::Text(text) if text.len() > LONGEST_TEXT => {
                let longest = crate::format::bytes(LONGEST_TEXT as u64);
                Err(self.refused(format!("it makes more than {longest} of {} tokens", ids.len())))
            }
            Answer::Text(text) => Ok(text),
            other => Err(self.unexpected(other)),
        }
    }

    /// Whether it may still answer. A process that took too much has ended.
    pub fn is_running(&self) -> bool {
        match &self.place {
            Host::Here(_) => true,
            Host::InAProcess(process) => process.lock().unwrap_or_else(PoisonError::into_inner).is_running(),
        }
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Result<Option<u32>> {
        match self.ask(&Question::Id { token })? {
            Answer::Id(id) => Ok(id),
            other => Err(self.unexpected(other)),
        }
    }

    fn ask_facts(&self, question: &Question) -> Result<TokenizerFacts> {
        match self.ask(question)? {
            Answer::Facts(facts) => Ok(*facts),
            other => Err(self.unexpected(other)),
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer> {
        match &self.place {
            Host::Here(engine) => Ok(engine.lock().unwrap_or_else(PoisonError::into_inner).answer(question.clone())),
            Host::InAProcess(process) => {
                let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
                process.ask(question).map_err(|silence| silent(&self.path, silence))
            }
        }
    }

    /// The error for an answer that is no answer to its question.
    fn unexpected(&self, answer: Answer) -> crate::Error {
        self.refused(match answer {
            Answer::Failed(reason) => reason,
            _ => "its process gives another answer than was asked for".into(),
        })
    }

    fn refused(&self, reason: String) -> crate::Error {
        SampleError::Tokenizer { path: self.path.clone(), reason }.into()
    }
}

/// The error for a process that gives no answer.
fn silent(path: &Path, silence: Silence) -> crate::Error {
    let path = path.into();
    match silence {
        Silence::TookTooMuch(reason) => SampleError::Tokenizer { path, reason }.into(),
        Silence::Interrupted => ComputeError::Interrupted.into(),
        Silence::Broken(source) => SampleError::TokenizerProcess { path, source }.into(),
    }
}
