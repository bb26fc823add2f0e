//! A prompt and a completion in two columns, under the names that data have for them.

use super::exchange::{self, Side};
use super::row::{Parsed, Row};
use crate::samples::SampleContent;

/// The prompts that are about a passage in the column `context`. A `prompt` is complete, as it is in TRL.
const ABOUT_CONTEXT: [&str; 2] = ["question", "query"];

/// Reads a prompt and a completion: both texts, or one or both of them, as in TRL, lists of messages. A system prompt or a history
/// makes a conversation of them, and a context stands before a question.
pub fn read(row: &mut Row, [column, completion]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let before = exchange::preamble(row)?;
    let mut prompt = Side::read(row, column)?;
    let completion = Side::read(row, completion)?;
    if let Side::Text(text) = &mut prompt
        && ABOUT_CONTEXT.contains(&column)
    {
        *text = with_context(row, std::mem::take(text))?;
    }
    Ok(vec![exchange::content(row, before, prompt, completion)?])
}

/// A prompt behind the passage that it is about, with a blank line between them.
pub fn with_context(row: &Row, prompt: String) -> Parsed<String> {
    let context = match row.get("context") {
        Some(serde_json::Value::Array(passages)) => {
            let texts: Option<Vec<&str>> = passages.iter().map(|passage| passage.as_str()).collect();
            texts.ok_or("`context` should be a string or a list of strings")?.join("\n\n")
        }
        _ => row.optional_string("context")?.unwrap_or_default(),
    };
    Ok(if context.is_empty() { prompt } else { format!("{context}\n\n{prompt}") })
}
