//! What to do about a record of no known form.

use serde_json::{Map, Value};

use super::{FORMS, FieldNames};

/// What was recognised in a record of no known form, and the flag or the change that makes it readable.
pub fn hint(fields: &Map<String, Value>, names: &FieldNames) -> String {
    let asked = [(&names.prompt_field, "--prompt-field"), (&names.completion_field, "--completion-field")];
    if asked.iter().any(|(name, _)| name.is_some()) {
        return of_named(fields, names);
    }
    if fields.get("prompt").is_some_and(|prompt| is_conversation(prompt) && !ends_with_answer(prompt)) {
        return "a prompt alone has nothing to score; add the answers as `completion`, or score the whole adapter's own with `--own-answers`".into();
    }
    if let Some((name, _)) = fields.iter().find(|(_, value)| is_conversation(value)) {
        return format!("`{name}` holds messages: rename it to `messages`");
    }
    if let Some((name, _)) = fields.iter().find(|(_, value)| fields.len() == 1 && is_list_of_objects(value)) {
        return format!("`{name}` holds a list of records: rename it to `data`");
    }
    let pairs = || FORMS.iter().filter(|form| !form.columns[1].is_empty());
    let has = |name: &str| fields.contains_key(name);
    if let Some(form) = pairs().find(|form| has(form.columns[0])) {
        return format!(
            "`{}` looks like a prompt; name its completion with `--completion-field`, and the prompt with `--prompt-field {0}`; if there \
             are none, `--own-answers` scores the whole adapter's own",
            form.columns[0]
        );
    }
    if let Some(form) = pairs().find(|form| has(form.columns[1])) {
        return format!(
            "`{}` looks like a completion; name its prompt with `--prompt-field`, and the completion with `--completion-field {0}`",
            form.columns[1]
        );
    }
    "name the fields of the prompt and the completion with `--prompt-field` and `--completion-field`".into()
}

/// The field that the user named and that is not there.
fn of_named(fields: &Map<String, Value>, names: &FieldNames) -> String {
    let [prompt, completion] = names.columns();
    if fields.contains_key(prompt) {
        format!("there is no `{completion}`; name the completion with `--completion-field`")
    } else {
        format!("there is no `{prompt}`; name the prompt with `--prompt-field`")
    }
}

fn is_list_of_objects(value: &Value) -> bool {
    value.as_array().and_then(|items| items.first()).is_some_and(Value::is_object)
}

/// Whether a value is a list of turns.
fn is_conversation(value: &Value) -> bool {
    let is_turn = |item: &Value| item.get("role").or_else(|| item.get("from")).is_some();
    value.as_array().and_then(|items| items.first()).is_some_and(is_turn)
}

/// Whether the last turn is the assistant's.
fn ends_with_answer(turns: &Value) -> bool {
    let last = turns.as_array().and_then(|turns| turns.last());
    last.and_then(|turn| turn.get("role")).is_some_and(|role| role == "assistant")
}
