//! The variables that a template is given, prepared as transformers prepares them, once for all renderings of a conversation.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::{Message, TemplateContext};
use super::SpecialTokens;
use super::calls::BUILTINS;
use super::value::{Dict, Evaluated, Items, Value};

/// The names of a message's reasoning. The first that is set is copied into `thinking`, unless it is set, and into
/// `reasoning_content` (transformers 5: `_alias_reasoning_fields`).
pub const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// What transformers passes by itself; a variable of the caller of the same name is an error there.
const TAKEN: [&str; 9] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "conversations",
    "conversation",
    "chat_template",
    "return_assistant_tokens_mask",
    "continue_final_message",
];

pub type GlobalValues = HashMap<Arc<str>, Value>;

/// What all renderings of a conversation are given: the variables that do not change, and the messages, of which each rendering has
/// the first.
#[derive(Debug)]
pub struct GivenConversation {
    fixed: GlobalValues,
    messages: Vec<Value>,
}

impl GivenConversation {
    /// The variables of a rendering of the first `count` messages, with `prompt` followed by the opening of the assistant's turn.
    pub fn variables(&self, count: usize, prompt: bool) -> Evaluated<GlobalValues> {
        let mut variables = self.fixed.clone();
        variables.insert("messages".into(), given_list(self.messages[..count].to_vec())?);
        variables.insert("add_generation_prompt".into(), Value::Bool(prompt));
        Ok(variables)
    }
}

/// Prepares a conversation for its renderings.
pub fn given(messages: &[Message], context: &TemplateContext, tokens: &SpecialTokens) -> Evaluated<GivenConversation> {
    let mut variables: GlobalValues =
        BUILTINS.iter().map(|(name, builtin)| ((*name).into(), Value::Builtin(*builtin))).collect();
    for (name, token) in tokens {
        variables.insert(name.as_str().into(), Value::str(token.as_str()));
    }
    for (name, value) in &context.kwargs {
        if TAKEN.contains(&name.as_str()) {
            return Err(format!("`{name}` cannot be passed to a chat template as a variable"));
        }
        variables.insert(name.as_str().into(), plain(value)?);
    }
    let listed = |list: &Option<Json>| list.as_ref().map_or(Ok(Value::None), plain);
    let messages = messages.iter().map(message).collect::<Evaluated<_>>()?;
    variables.insert("tools".into(), listed(&context.tools)?);
    variables.insert("documents".into(), listed(&context.documents)?);
    Ok(GivenConversation { fixed: variables, messages })
}

/// A message without fields that are null, and with its reasoning under each of its names.
fn message(message: &Message) -> Evaluated<Value> {
    let fields: Vec<(&str, &Json)> = message
        .fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let find = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let reasoning = REASONING.into_iter().find_map(find);
    let mut entries = Vec::with_capacity(fields.len() + 2);
    if let Some(reasoning) = reasoning {
        entries.push((Value::str("thinking"), plain(find("thinking").unwrap_or(reasoning))?));
    }
    for (name, value) in &fields {
        // With reasoning, these two have their places and values already, or get them below.
        let value = match (reasoning, *name) {
            (Some(_), "thinking") => continue,
            (Some(reasoning), "reasoning_content") => reasoning,
            _ => value,
        };
        entries.push((Value::str(*name), plain(value)?));
    }
    if let Some(reasoning) = reasoning.filter(|_| find("reasoning_content").is_none()) {
        entries.push((Value::str("reasoning_content"), plain(reasoning)?));
    }
    Ok(Value::Dict(Rc::new(Dict::given(entries)?)))
}

fn given_list(values: Vec<Value>) -> Evaluated<Value> {
    Ok(Value::List(Rc::new(Items::given(values)?)))
}

/// JSON as Python reads it.
fn plain(json: &Json) -> Evaluated<Value> {
    match json {
        Json::Null => Ok(Value::None),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::String(text) => Ok(Value::str(text.as_str())),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Ok(Value::int(value)),
            (None, Some(value), _) => Ok(Value::int(value)),
            // Python keeps all digits of an integer. Here it may have been read as a float already.
            (None, None, Some(value)) if value.abs() >= 1.8e19 && value.abs() < 1e300 => {
                Err("a number is too large to tell whether it was an integer".into())
            }
            (None, None, value) => value.map(Value::Float).ok_or_else(|| "a number is no number".into()),
        },
        Json::Array(items) => given_list(items.iter().map(plain).collect::<Evaluated<_>>()?),
        Json::Object(fields) => {
            let entry = |(name, value): (&String, &Json)| Ok((Value::str(name.as_str()), plain(value)?));
            let entries = fields.iter().map(entry).collect::<Evaluated<_>>()?;
            Ok(Value::Dict(Rc::new(Dict::given(entries)?)))
        }
    }
}
