//! Preference data: a chosen and a rejected answer, of which the chosen one is scored.

use serde_json::Value;

use super::conversation::{self, with_system};
use super::exchange::{self, Side};
use super::row::{Parsed, Row};
use super::{context, turns};
use crate::samples::{Message, SampleContent};

/// The columns that can hold the prompt.
const PROMPTS: [&str; 4] = ["prompt", "question", "instruction", "query"];

/// Reads a pair: with its prompt in a column of its own, in `conversations` as LLaMA-Factory has it, or at the beginning of both answers, as TRL's `extract_prompt` finds it.
pub fn read(row: &mut Row, [chosen, rejected]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    row.remarks.say("of preference pairs, `chosen` is scored and `rejected` is not");
    let (chosen, rejected) = (answer(row, chosen)?, answer(row, rejected)?);
    Ok(vec![content(row, chosen, rejected)?])
}

fn content(row: &mut Row, chosen: Side, rejected: Side) -> Parsed<SampleContent> {
    if row.has("conversations") {
        let before = conversation::turns(row, "conversations")?;
        return exchange::chat(row, Vec::new(), Side::Turns(before), chosen);
    }
    let prompt = PROMPTS.iter().find(|name| row.peek(name).is_some_and(|value| !value.is_null()));
    match (prompt, chosen) {
        (Some(name), chosen @ Side::Text(_)) => {
            let before = exchange::preamble(row)?;
            let mut prompt = Side::read(row, name)?;
            if let Side::Text(text) = &mut prompt {
                let input = row.first_string(&["input", "context"])?.unwrap_or_default();
                *text = super::instruction::request(std::mem::take(text), &input);
            }
            exchange::content(row, before, prompt, chosen)
        }
        (Some(name), Side::Turns(chosen)) if row.holds_turns(name) => {
            let before = exchange::preamble(row)?;
            let prompt = Side::read(row, name)?;
            exchange::chat(row, before, prompt, Side::Turns(chosen))
        }
        // A text beside conversations repeats their first turn, as TRL assumes.
        (prompt, Side::Turns(chosen)) => {
            prompt.map(|name| row.get(name));
            conversations(row, chosen, rejected)
        }
        (None, Side::Text(chosen)) => texts(chosen, rejected),
    }
}

/// An answer: a text, one message, or a list of messages.
fn answer(row: &mut Row, name: &str) -> Parsed<Side> {
    match row.get(name) {
        Some(turn @ Value::Object(_)) => Ok(Side::Turns(vec![turns::message(turn.clone(), name, row)?])),
        _ => Side::read(row, name),
    }
}

/// Two whole conversations. What they begin with in common is the prompt.
fn conversations(row: &mut Row, chosen: Vec<Message>, rejected: Side) -> Parsed<SampleContent> {
    let Side::Turns(rejected) = rejected else {
        return Err("`chosen` and `rejected` should both be lists of messages".into());
    };
    let (messages, rejected) = (with_system(row, chosen)?, with_system(row, rejected)?);
    let common = messages.iter().zip(&rejected).take_while(|(one, other)| one == other).count();
    // Equal conversations: the last turn is the answer.
    let scored_from = common.min(messages.len().saturating_sub(1));
    if scored_from == 0 {
        return Err("`chosen` and `rejected` should begin with the same prompt".into());
    }
    Ok(SampleContent::Chat { messages, scored_from, context: context::read(row)? })
}

/// Two whole texts. What they begin with in common, without a space at its end, is the prompt.
fn texts(chosen: String, rejected: Side) -> Parsed<SampleContent> {
    let Side::Text(rejected) = rejected else {
        return Err("`chosen` needs a `prompt`, or a `rejected` text that begins with the same prompt".into());
    };
    let common = chosen.chars().zip(rejected.chars()).take_while(|(one, other)| one == other);
    let mut end: usize = common.map(|(character, _)| character.len_utf8()).sum();
    if chosen[..end].ends_with(' ') {
        end -= 1;
    }
    let (prompt, completion) = chosen.split_at(end);
    if completion.is_empty() {
        return Err("`chosen` and `rejected` should differ".into());
    }
    Ok(SampleContent::Completion { prompt: prompt.into(), completion: completion.into() })
}
