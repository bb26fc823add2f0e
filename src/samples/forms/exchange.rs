//! A prompt and its completion, with what may stand before them.

use serde_json::Value;

use super::context;
use super::row::{Parsed, Row};
use super::turns;
use crate::samples::{Message, SampleContent};

/// Columns of a system prompt.
const SYSTEM: [&str; 2] = ["system", "system_prompt"];

/// One side of an exchange.
pub enum Side {
    Text(String),
    Turns(Vec<Message>),
}

impl Side {
    /// A column that holds a text or a list of messages.
    pub fn read(row: &mut Row, name: &str) -> Parsed<Self> {
        match row.get(name) {
            Some(Value::String(text)) if !row.holds_turns(name) => Ok(Self::Text(text.clone())),
            Some(Value::Array(_) | Value::String(_)) => turns::messages(row, name).map(Self::Turns),
            _ => Err(format!("`{name}` should be a string").into()),
        }
    }

    /// The side as turns of the conversation; a text is one of `role`.
    pub fn into_turns(self, role: &str) -> Vec<Message> {
        match self {
            Self::Text(text) => vec![Message::new(role, &text)],
            Self::Turns(turns) => turns,
        }
    }
}

/// The system prompt and the turns of `history` that stand before an exchange.
pub fn preamble(row: &mut Row) -> Parsed<Vec<Message>> {
    let mut turns: Vec<Message> =
        row.first_string(&SYSTEM)?.map(|text| Message::new("system", &text)).into_iter().collect();
    turns.extend(history(row)?);
    Ok(turns)
}

/// LLaMA-Factory's `history`: pairs of what the user and the assistant said. Others keep messages there.
fn history(row: &mut Row) -> Parsed<Vec<Message>> {
    let wrong = || "`history` should be a list of pairs of strings, or of objects with `role` and `content`";
    let mut turns = Vec::new();
    for item in row.list("history").map_err(|_| wrong())?.unwrap_or_default() {
        match item {
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(user), Value::String(assistant)] => {
                    turns.extend([Message::new("user", user), Message::new("assistant", assistant)]);
                }
                _ => return Err(wrong().into()),
            },
            turn => turns.push(turns::message(turn, "history", row)?),
        }
    }
    Ok(turns)
}

/// A prompt and a completion: two texts, if nothing makes a conversation of them.
pub fn content(row: &mut Row, before: Vec<Message>, prompt: Side, completion: Side) -> Parsed<SampleContent> {
    match (prompt, completion) {
        (Side::Text(prompt), Side::Text(completion)) if before.is_empty() => {
            Ok(SampleContent::Completion { prompt, completion })
        }
        (prompt, completion) => chat(row, before, prompt, completion),
    }
}

/// A prompt and a completion that are parts of a conversation: everything from the completion on is scored.
pub fn chat(row: &mut Row, before: Vec<Message>, prompt: Side, completion: Side) -> Parsed<SampleContent> {
    let mut messages = before;
    messages.extend(prompt.into_turns("user"));
    let scored_from = messages.len();
    messages.extend(completion.into_turns("assistant"));
    if scored_from == 0 || scored_from == messages.len() {
        return Err("the prompt and the completion should not be empty".into());
    }
    Ok(SampleContent::Chat { messages, scored_from, context: context::read(row)? })
}
