//! Prompts without answers: a record becomes one of a known form, with an empty answer in the place of the one to come.

use serde_json::{Map, Value, json};

use super::forms::FieldNames;

/// The columns of prompts, and those of their answers.
const PAIRS: [(&str, &str); 6] = [
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "output"),
    ("query", "response"),
    ("input", "output"),
    ("inputs", "targets"),
];

/// The columns of conversations.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];

/// Adds an empty answer to a record that ends with a prompt. A record of a known form with an answer stays as it is.
pub fn complete(record: &mut Map<String, Value>, names: &FieldNames) {
    if let Some(turns) =
        CONVERSATIONS.iter().find(|name| record.contains_key(**name)).and_then(|name| record.get_mut(*name))
    {
        complete_turns(turns);
        return;
    }
    let [prompt, completion] = names.columns();
    let named = names.prompt_field.as_ref().map(|_| (prompt, completion));
    let pairs = named.into_iter().chain(PAIRS);
    let is_set = |name: &str| record.get(name).is_some_and(|value| !value.is_null());
    if super::forms::recognises(is_set) && named.is_none() {
        return;
    }
    let missing = pairs.into_iter().find(|(prompt, _)| record.get(*prompt).is_some_and(|value| !value.is_null()));
    // Dolly's records have a context, and another name for the answer.
    let of_context = |(prompt, completion)| match prompt {
        "instruction" if record.contains_key("context") => (prompt, "response"),
        _ => (prompt, completion),
    };
    if let Some((prompt, completion)) = missing.map(of_context)
        && record.get(completion).is_none_or(Value::is_null)
    {
        let is_text = record.get(prompt).is_some_and(Value::is_string);
        let answer = if is_text { json!("") } else { json!([{"role": "assistant", "content": ""}]) };
        record.insert(completion.into(), answer);
    }
}

/// Adds an empty turn of the assistant unless one is the last.
fn complete_turns(turns: &mut Value) {
    let Some(turns) = turns.as_array_mut() else { return };
    let role = |turn: &Value| turn.get("role").or_else(|| turn.get("from")).and_then(Value::as_str).map(String::from);
    match turns.last().and_then(role).as_deref() {
        Some("assistant" | "gpt" | "model" | "chatgpt" | "bot" | "ai") | None => {}
        Some(_) => turns.push(json!({"role": "assistant", "content": ""})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(record: Value) -> Value {
        let Value::Object(mut record) = record else { return record };
        complete(&mut record, &FieldNames::default());
        Value::Object(record)
    }

    #[test]
    fn prompts_get_an_empty_answer() {
        assert_eq!(completed(json!({"prompt": "a"})), json!({"prompt": "a", "completion": ""}));
        assert_eq!(
            completed(json!({"instruction": "a", "input": "b"})),
            json!({"instruction": "a", "input": "b", "output": ""})
        );
        let user = json!({"role": "user", "content": "a"});
        let answer = json!({"role": "assistant", "content": ""});
        assert_eq!(completed(json!({"messages": [user]})), json!({"messages": [user, answer]}));
        assert_eq!(completed(json!({"prompt": [user]})), json!({"prompt": [user], "completion": [answer]}));
    }

    #[test]
    fn answers_stay() {
        assert_eq!(
            completed(json!({"prompt": "a", "completion": null})),
            json!({"prompt": "a", "completion": ""}),
            "null is no answer"
        );
        let known = [
            json!({"prompt": "a", "completion": "b"}),
            json!({"prompt": "a", "response": "b"}),
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            json!({"text": "a"}),
        ];
        known.into_iter().for_each(|record| assert_eq!(completed(record.clone()), record));
    }
}
