//! What a conversation brings for its chat template beside the messages.

use serde_json::{Map, Value};

use super::row::{Parsed, Problem, Row};
use crate::files::json;
use crate::samples::TemplateContext;

/// Variables that say how to render instead of being rendered.
const RESERVED: [&str; 8] = [
    "chat_template",
    "messages",
    "conversation",
    "add_generation_prompt",
    "continue_final_message",
    "return_assistant_tokens_mask",
    "tokenize",
    "return_dict",
];

/// The columns `tools`, `documents` and `chat_template_kwargs`. As in TRL, tools may be the JSON text of a list, and
/// `chat_template_kwargs` wins over the columns.
pub fn read(row: &mut Row) -> Parsed<TemplateContext> {
    let mut context =
        TemplateContext { tools: objects(row, "tools")?, documents: objects(row, "documents")?, kwargs: Map::new() };
    if context.documents.is_some() {
        row.remarks
            .say("`documents` go to the chat template, though TRL passes on only those in `chat_template_kwargs`");
    }
    let kwargs = match row.get("chat_template_kwargs") {
        None => return Ok(context),
        Some(Value::String(text)) => json::parse(text.as_bytes()).unwrap_or_default(),
        Some(value) => value.clone(),
    };
    let Value::Object(kwargs) = kwargs else {
        return Err("`chat_template_kwargs` should be an object".into());
    };
    for (key, value) in kwargs {
        match key.as_str() {
            "tools" => context.tools = Some(value).filter(|value| !value.is_null()),
            "documents" => context.documents = Some(value).filter(|value| !value.is_null()),
            name if RESERVED.contains(&name) => {
                return Err(Problem::unsupported(
                    &format!("chat_template_kwargs: {name}"),
                    "a sample cannot change how its conversation is rendered",
                ));
            }
            _ => _ = context.kwargs.insert(key, value),
        }
    }
    Ok(context)
}

/// A list of objects, as transformers requires it of tools and documents.
fn objects(row: &Row, name: &str) -> Parsed<Option<Value>> {
    let Some(items) = row.list(name)? else { return Ok(None) };
    if !items.iter().all(Value::is_object) {
        return Err(format!("`{name}` should be a list of objects").into());
    }
    Ok(Some(Value::Array(items)))
}
