//! Turns of conversations, in the spellings that data have.
//!
//! A turn has `role` and `content`, or `from` and `value` as in ShareGPT. Its other keys go to the chat template, which reads those
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

/// The roles of ShareGPT and the names that chat templates know.
const ROLES: [(&str, &str); 7] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("model", "assistant"),
    ("observation", "tool"),
    ("function_response", "tool"),
];

/// The role whose value is the JSON text of a call, in LLaMA-Factory's ShareGPT.
const FUNCTION_CALL: &str = "function_call";

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
    fields.retain(|_, value| !value.is_null());
    if !fields.get("role").is_some_and(Value::is_string) {
        return Err(wrong().into());
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

/// A turn with `role` and `content`.
fn renamed(mut fields: Map<String, Value>) -> Parsed<Map<String, Value>> {
    if fields.contains_key("role") || !fields.contains_key("from") || !fields.contains_key("value") {
        return Ok(fields);
    }
    let role = fields.shift_remove("from").unwrap_or_default();
    let value = fields.shift_remove("value").unwrap_or_default();
    let role = role.as_str().ok_or("`from` should be a string")?;
    let known = ROLES.iter().find(|(from, _)| *from == role).map_or(role, |(_, role)| *role);
    let mut turn = Map::new();
    if role == FUNCTION_CALL {
        turn.insert("role".into(), "assistant".into());
        turn.insert("tool_calls".into(), tool_calls(&value)?);
    } else {
        turn.insert("role".into(), known.into());
        turn.insert("content".into(), value);
    }
    turn.extend(fields);
    Ok(turn)
}

/// The calls that a text of LLaMA-Factory holds: one object with `name` and `arguments`, or a list of them.
fn tool_calls(value: &Value) -> Parsed<Value> {
    let wrong =
        || format!("the value of `{FUNCTION_CALL}` should be the JSON of an object with `name` and `arguments`");
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
