//! The tokens of a GGUF file, with their types.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::keys::{self, TokenizerKeys};

/// The model name of SentencePiece tokenizers.
pub const SENTENCEPIECE: &str = "llama";

/// The types of tokens that are matched as a whole in the text, before it is split.
pub const UNKNOWN: i64 = 2;
pub const CONTROL: i64 = 3;
pub const USER_DEFINED: i64 = 4;

/// The type of every other token, unless the file says otherwise.
const NORMAL: i64 = 1;

/// The most tokens, and the most merges, that a file may have: several times those of the largest vocabularies.
const MOST: usize = 1 << 20;

/// The most bytes of text that each list may have, as long as a tokenizer.json may be.
const MOST_BYTES: usize = 64 << 20;

/// The tokens of a file by id.
pub struct Vocabulary<'a> {
    pub tokens: Vec<Cow<'a, str>>,
    /// The type of each token.
    pub types: Vec<i64>,
    is_sentencepiece: bool,
}

impl<'a> Vocabulary<'a> {
    pub fn read(keys: &TokenizerKeys<'a>) -> Result<Self, String> {
        let tokens = keys.strings("tokens")?.ok_or_else(|| super::missing("tokens"))?;
        within_limits(&tokens, "tokens")?;
        let types = keys.integers("token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        at_least(&types, "token_type", tokens.len())?;
        // llama.cpp gives an empty token this name, so that no text has it.
        let named = |(id, token): (usize, &'a str)| match token {
            "" => Cow::Owned(format!("[EMPTY_{id}]")),
            token => Cow::Borrowed(token),
        };
        let tokens = tokens.into_iter().enumerate().map(named).collect();
        let vocabulary = Self { tokens, types, is_sentencepiece: keys.string("model")? == Some(SENTENCEPIECE) };
        vocabulary.check_distinct().map(|()| vocabulary)
    }

    /// Refuses two tokens with one text, as llama.cpp does.
    fn check_distinct(&self) -> Result<(), String> {
        let ids = self.ids();
        let twice = self.tokens.iter().enumerate().find(|(id, token)| ids.get(&***token) != Some(id));
        twice.map_or(Ok(()), |(_, token)| Err(format!("`{}` has the token `{token}` twice", keys::full("tokens"))))
    }

    pub fn text(&self, id: u64) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?).map(|token| &**token)
    }

    /// The ids of tokens by their text.
    pub fn ids(&self) -> HashMap<&str, usize> {
        self.tokens.iter().enumerate().map(|(id, token)| (&**token, id)).collect()
    }

    /// The vocabulary as a tokenizer.json has it.
    pub fn to_json(&self) -> Map<String, Value> {
        (0u64..).zip(&self.tokens).map(|(id, token)| (token.to_string(), id.into())).collect()
    }

    /// The id of the token that has a role: `bos`, `eos`, `unknown`.
    pub fn role(&self, keys: &TokenizerKeys, role: &str) -> Result<Option<u64>, String> {
        Ok(keys.token(role)?.or_else(|| usual_id(role).filter(|_| self.is_sentencepiece)))
    }
}

/// The id that a role has in SentencePiece vocabularies whose file names none.
pub fn usual_id(role: &str) -> Option<u64> {
    match role {
        "unknown" => Some(0),
        "bos" => Some(1),
        "eos" => Some(2),
        _ => None,
    }
}

/// Refuses a list that is too large to become a tokenizer.
pub fn within_limits(texts: &[&str], name: &str) -> Result<(), String> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    match texts.len() <= MOST && bytes <= MOST_BYTES {
        true => Ok(()),
        false => Err(format!(
            "`{}` has {} values of {bytes} bytes; {MOST} values of 64 MiB are the most",
            keys::full(name),
            texts.len()
        )),
    }
}

/// Refuses a list with less than one value for each token.
pub fn at_least<T>(values: &[T], name: &str, tokens: usize) -> Result<(), String> {
    match values.len() < tokens {
        true => Err(format!("`{}` has {} values for {tokens} tokens", keys::full(name), values.len())),
        false => Ok(()),
    }
}
