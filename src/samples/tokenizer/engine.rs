//! The `tokenizers` library behind a small interface: what is asked of it, and what it answers.
//!
//! The library is other people's code that runs on other people's files, and it panics on some of them. A panic is an answer
//! here: it says what is wrong with the file.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// What is asked of a tokenizer. The first request loads it.
#[derive(Debug, Clone)]
pub enum Question<'a> {
    /// Loads a tokenizer.json.
    Load(&'a [u8]),
    /// Adds tokens, and says whether special tokens in a text are split like other text.
    Add {
        tokens: Vec<AddedToken>,
        splits_special: bool,
    },
    Encode {
        text: &'a str,
        how: EncodeHow,
    },
    Decode {
        ids: &'a [u32],
        skips_special: bool,
    },
    Id {
        token: &'a str,
    },
}

/// How a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeHow {
    /// Whether the tokens are added that belong before and behind each text.
    pub adds_special: bool,
    /// Whether the characters of each token are asked for, too.
    pub offsets: bool,
    /// The most tokens that are given; the others are only counted.
    pub most: usize,
}

/// The answer to a [`Question`].
#[derive(Debug, PartialEq)]
pub enum Answer {
    Facts(Box<TokenizerFacts>),
    Tokens(TokenizedText),
    Text(String),
    Id(Option<u32>),
    /// Why there is no other answer.
    Failed(String),
}

/// What a tokenizer.json says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenizerFacts {
    /// The version of the program that read it.
    pub program: String,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub decoder: Value,
    /// The tokens that are matched as a whole, by id.
    pub added: BTreeMap<u32, AddedToken>,
    /// The share of merges that the file has left out at random (BPE dropout). None is left out here.
    pub dropout: Option<f32>,
}

/// The tokens of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizedText {
    pub ids: Vec<u32>,
    /// The characters of the text that each token stands for, from and to, if they were asked for.
    pub offsets: Vec<(u32, u32)>,
    /// The number of all tokens of the text; `ids` may have fewer.
    pub total: usize,
}

/// Answers questions about one tokenizer.
#[derive(Debug, Default)]
pub struct Engine {
    tokenizer: Option<Tokenizer>,
    dropout: Option<f32>,
}

impl Engine {
    pub fn answer(&mut self, question: Question) -> Answer {
        // The only state that a panic could leave half changed is the tokenizer, whose file is refused then.
        let answered = catch_unwind(AssertUnwindSafe(|| self.try_answer(question)));
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Failed(error.to_string()),
            Err(panic) => Answer::Failed(format!("the `tokenizers` library fails on it: {}", message(&*panic))),
        }
    }

    fn try_answer(&mut self, question: Question) -> tokenizers::Result<Answer> {
        if let Question::Load(json) = question {
            self.load(json)?;
            return Ok(Answer::Facts(Box::new(self.facts()?)));
        }
        let Some(tokenizer) = &mut self.tokenizer else { return Err("no tokenizer is loaded".into()) };
        match question {
            Question::Load(_) => Err("it is loaded already".into()),
            Question::Add { tokens, splits_special } => {
                tokenizer.add_tokens(tokens)?;
                tokenizer.set_encode_special_tokens(splits_special);
                Ok(Answer::Facts(Box::new(self.facts()?)))
            }
            Question::Encode { text, how } => Ok(Answer::Tokens(encode(tokenizer, text, how)?)),
            Question::Decode { ids, skips_special } => Ok(Answer::Text(tokenizer.decode(ids, skips_special)?)),
            Question::Id { token } => Ok(Answer::Id(tokenizer.token_to_id(token))),
        }
    }

    /// Loads a tokenizer without what would change samples silently, or at random.
    fn load(&mut self, json: &[u8]) -> tokenizers::Result<()> {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && let Some(dropout) = model.dropout.filter(|&share| share != 0.0)
        {
            let mut model = model.clone();
            model.dropout = None;
            tokenizer.with_model(model);
            self.dropout = Some(dropout);
        }
        self.tokenizer = Some(tokenizer);
        Ok(())
    }

    fn facts(&self) -> serde_json::Result<TokenizerFacts> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(TokenizerFacts::default()) };
        Ok(TokenizerFacts {
            program: env!("CARGO_PKG_VERSION").into(),
            normalizer: serde_json::to_value(tokenizer.get_normalizer())?,
            pre_tokenizer: serde_json::to_value(tokenizer.get_pre_tokenizer())?,
            decoder: serde_json::to_value(tokenizer.get_decoder())?,
            added: tokenizer.get_added_tokens_decoder().into_iter().collect(),
            dropout: self.dropout,
        })
    }
}

fn encode(tokenizer: &Tokenizer, text: &str, how: EncodeHow) -> tokenizers::Result<TokenizedText> {
    let encoding = match how.offsets {
        true => tokenizer.encode_char_offsets(text, how.adds_special)?,
        false => tokenizer.encode_fast(text, how.adds_special)?,
    };
    let (ids, kept) = (encoding.get_ids(), encoding.len().min(how.most));
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let offsets = if how.offsets { encoding.get_offsets() } else { &[] };
    Ok(TokenizedText {
        ids: ids[..kept].into(),
        offsets: offsets.iter().take(kept).map(|&(from, to)| (place(from), place(to))).collect(),
        total: ids.len(),
    })
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panics")
}
