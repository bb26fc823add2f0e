//! A conversation in one column.

use super::context;
use super::row::{Parsed, Row};
use super::turns;
use crate::samples::{Message, SampleContent};

/// Reads the turns of the column `name`. A system prompt may stand in a column of its own.
pub fn read(row: &mut Row, [name, _]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let messages = turns(row, name)?;
    Ok(vec![SampleContent::Chat { messages, scored_from: 0, context: context::read(row)? }])
}

/// The turns of a column behind the system prompt.
pub fn turns(row: &mut Row, name: &str) -> Parsed<Vec<Message>> {
    let messages = turns::messages(row, name)?;
    with_system(row, messages)
}

/// The turns behind the system prompt of a column, unless they begin with the same one.
pub fn with_system(row: &Row, mut messages: Vec<Message>) -> Parsed<Vec<Message>> {
    let Some(text) = row.first_string(&["system", "system_prompt"])? else { return Ok(messages) };
    let system = Message::new("system", &text);
    match messages.first() {
        Some(first) if *first == system => {}
        Some(first) if first.role() == "system" => {
            return Err("the system prompt of its column and that of the messages differ".into());
        }
        _ => messages.insert(0, system),
    }
    Ok(messages)
}
