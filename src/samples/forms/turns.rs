//! Turns of conversations, in the spellings that data have.
//!
//! A turn has `role` or ShareGPT's `from`, and `content` or `value`. Its other keys go to the chat template, which reads those
//! that it knows. Marks of training are taken out, and so are nulls: transformers drops the keys of a message whose value is null
//! (`_normalize_chat_messages` in utils/chat_template_utils.py), and only there, not deeper.

use serde_json::{Map, Value, json};

use super::row::{Parsed, Problem, Row};
use crate::files;
use crate::samples::Message;

/// Keys by which data say whether a turn is trained: OpenAI and Mistral (`weight`), Axolotl (`train`, `training`), ms-swift
/// (`loss`). The flag is whether they can also mark turns of others than the assistant.
const MARKS: [(&str, bool); 5] =
    [("weight", false), ("train", true), ("training", true), ("loss", false), ("label", false)];

/// Keys of turns that change what is trained in ways that a mark of a whole turn cannot say.
const REFUSED: [(&str, &str); 3] = [
    ("train_detail", "only whole turns can be scored or not"),
    ("loss_weight", "tokens are scored or not; they have no weights"),
    ("images", "only text is read"),
];

/// The roles of ShareGPT in lower case and the names that chat templates know.
const ROLES: [(&str, &str); 13] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("bot", "assistant"),
    ("chatbot", "assistant"),
    ("model", "assistant"),
    ("ai", "assistant"),
    ("observation", "tool"),
    ("function_response", "tool"),
    ("tool_response", "tool"),
    ("tool_result", "tool"),
];

/// The roles that chat templates know. Turns of others are rendered by some templates only, and scored by none.
const KNOWN_ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

/// Keys beside which a turn needs no content.
const INSTEAD_OF_CONTENT: [&str; 5] = ["tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"];

/// The roles whose value is the JSON text of a call: those of LLaMA-Factory and ms-swift.
const CALLS: [&str; 2] = ["function_call", "tool_call"];

/// Parts of contents that are not text.
const MEDIA: [&str; 8] =
    ["image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url"];

/// The turns of a column, which must be there.
pub fn messages(row: &mut Row, name: &str) -> Parsed<Vec<Message>> {
    let wrong = || format!("`{name}` should be a list of objects with `role` and `content`");
    let turns = row.list(name).map_err(|_| wrong())?.ok_or_else(wrong)?;
    turns.into_iter().map(|turn| message(turn, name, row)).collect()
}

/// One turn. `name` is the column that it is in.
pub fn message(turn: Value, name: &str, row: &mut Row) -> Parsed<Message> {
    let wrong = || format!("`{name}` should be a list of objects with `role` and `content`");
    let Value::Object(fields) = turn else { return Err(wrong().into()) };
    let mut fields = renamed(fields)?;
    let role = fields.get("role").and_then(Value::as_str).ok_or_else(wrong)?;
    if !KNOWN_ROLES.contains(&role) {
        row.remarks
            .say(format!("turns of the role `{role}` go to the chat template under this name, and are not scored"));
    }
    if !fields.contains_key("content") && !INSTEAD_OF_CONTENT.iter().any(|key| fields.contains_key(*key)) {
        row.remarks.say(format!("turns of the role `{role}` without `content` go to the chat template as they are"));
    }
    if let Some((key, reason)) = REFUSED.iter().find(|(key, _)| fields.get(*key).is_some_and(crate::account::is_set)) {
        return Err(Problem::unsupported(key, *reason));
    }
    let scored = take_marks(&mut fields)?;
    check_content(&fields, row)?;
    if fields.values().any(holds_null) {
        row.remarks
            .say(format!("null values inside the messages of `{name}` go to the chat template, as in transformers"));
    }
    Ok(Message { fields, scored })
}

/// A turn with `role` and `content`, without nulls: tables have the keys of both spellings, and nulls in one of them.
fn renamed(mut fields: Map<String, Value>) -> Parsed<Map<String, Value>> {
    fields.retain(|_, value| !value.is_null());
    let from = fields.get("from").and_then(Value::as_str).map(known_role);
    let role = fields.get("role").and_then(Value::as_str);
    if role.is_some() && from.as_deref().is_some_and(|from| KNOWN_ROLES.contains(&from) && Some(from) != role) {
        return Err("a turn has both `role` and `from`, and they differ".into());
    }
    // Beside a role, a value that is no text is something else, for example a rating.
    let is_spelling = |value: &&Value| role.is_none() || value.is_string();
    let differs = |value: &Value| fields.get("content").is_some_and(|content| content != value);
    if fields.get("value").filter(is_spelling).is_some_and(differs) {
        return Err("a turn has both `content` and `value`, and they differ".into());
    }
    let (None, Some(from)) = (role, from) else {
        return Ok(if fields.contains_key("content") { fields } else { with_content(fields) });
    };
    fields.shift_remove("from");
    let mut fields = with_content(fields);
    let content = fields.shift_remove("content");
    let mut turn = Map::new();
    if CALLS.contains(&from.as_str()) {
        turn.insert("role".into(), "assistant".into());
        turn.insert("tool_calls".into(), tool_calls(&content.unwrap_or_default())?);
    } else {
        turn.insert("role".into(), from.into());
        turn.extend(content.map(|content| ("content".into(), content)));
    }
    turn.extend(fields);
    Ok(turn)
}

/// The role that ShareGPT's name stands for, whose letters may be capital; other names are kept as they are.
fn known_role(from: &str) -> String {
    let lower = from.to_ascii_lowercase();
    let is_known = KNOWN_ROLES.contains(&lower.as_str()) || CALLS.contains(&lower.as_str());
    let renamed = ROLES.iter().find(|(name, _)| *name == lower).map(|(_, role)| *role);
    renamed.map_or_else(|| if is_known { lower } else { from.into() }, String::from)
}

/// A turn whose `value` is its content.
fn with_content(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(value) = fields.shift_remove("value") {
        fields.insert("content".into(), value);
    }
    fields
}

/// The calls that a text of such a role holds: one object with `name` and `arguments`, or a list of them.
fn tool_calls(value: &Value) -> Parsed<Value> {
    let wrong = || "the value of a `function_call` should be the JSON of an object with `name` and `arguments`";
    let text = value.as_str().ok_or_else(wrong)?;
    let calls = match files::json::parse(text.as_bytes()).map_err(|_| wrong())? {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    let call = |call: Value| {
        let is_call = call.get("name").is_some_and(Value::is_string) && call.get("arguments").is_some();
        is_call.then(|| json!({"type": "function", "function": call}))
    };
    Ok(Value::Array(calls.into_iter().map(call).collect::<Option<_>>().ok_or_else(wrong)?))
}

/// Takes the marks of training out of a turn. A turn is scored if none of them says no.
fn take_marks(fields: &mut Map<String, Value>) -> Parsed<Option<bool>> {
    let is_assistant = fields.get("role").and_then(Value::as_str) == Some("assistant");
    let mut scored = None;
    for (key, marks_others) in MARKS {
        let Some(value) = fields.shift_remove(key) else { continue };
        let mark = as_flag(&value).ok_or_else(|| {
            Problem::unsupported(&format!("{key}: {value}"), "a turn is scored or not: 0, 1, true or false")
        })?;
        if is_assistant || marks_others || !mark {
            scored = Some(scored.unwrap_or(true) && mark);
        }
    }
    Ok(scored)
}

/// True, false, 1 or 0.
pub fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        _ => None,
    }
}

/// Refuses parts that are not text, and names the kinds of parts that only some templates know.
fn check_content(fields: &Map<String, Value>, row: &mut Row) -> Parsed<()> {
    let parts = fields.get("content").and_then(Value::as_array);
    for kind in parts.into_iter().flatten().filter_map(|part| part.get("type")?.as_str()) {
        if MEDIA.contains(&kind) {
            return Err(Problem::unsupported(kind, "only text is read"));
        }
        if kind != "text" {
            row.remarks.say(format!("parts of contents of the type `{kind}` go to the chat template as they are"));
        }
    }
    Ok(())
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| item.is_null() || holds_null(item)),
        Value::Object(fields) => fields.values().any(|field| field.is_null() || holds_null(field)),
        _ => false,
    }
}
