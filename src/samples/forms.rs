//! Forms of samples: which fields a record has, and what they mean.
//!
//! To add a form, write a function that reads its fields and add a line to [`FORMS`].

use serde_json::{Map, Value};

use super::content::{Message, SampleContent, TemplateContext};

/// The fields of a record.
type Fields = Map<String, Value>;

/// The result of reading fields, or what is wrong with them.
type Parsed<T> = Result<T, String>;

/// The names of the fields of prompt and completion, where they are not the usual ones.
#[derive(Debug, Clone, Default)]
pub struct FieldNames {
    pub prompt_field: Option<String>,
    pub completion_field: Option<String>,
}

/// A form of sample.
struct Form {
    /// The fields that a record of this form must have.
    fields: &'static [&'static str],
    /// All fields that it reads, for `--help`.
    help: &'static str,
    read: fn(&Fields) -> Parsed<SampleContent>,
}

/// The first form whose fields a record has reads it.
const FORMS: [Form; 6] = [
    Form { fields: &["input_ids"], help: "input_ids/labels", read: tokens },
    Form { fields: &["messages"], help: "messages", read: conversation },
    Form {
        fields: &["prompt", "completion"],
        help: "prompt/completion",
        read: |fields| pair(fields, "prompt", "completion"),
    },
    Form { fields: &["instruction", "output"], help: "instruction/input/output", read: instruction },
    Form {
        fields: &["question", "answer"],
        help: "question/answer",
        read: |fields| pair(fields, "question", "answer"),
    },
    Form { fields: &["text"], help: "text", read: |fields| string(fields, "text").map(SampleContent::Text) },
];

/// The fields of all forms, for `--help`.
pub fn all() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|form| form.help)
}

/// Recognises a record by its fields and reads it. `None` if no form has these fields, an error if their values are wrong.
pub fn read(fields: &Fields, names: &FieldNames) -> Option<Parsed<SampleContent>> {
    let has = |name: &str| fields.contains_key(name);
    if names.prompt_field.is_some() || names.completion_field.is_some() {
        let prompt = names.prompt_field.as_deref().unwrap_or("prompt");
        let completion = names.completion_field.as_deref().unwrap_or("completion");
        return (has(prompt) && has(completion)).then(|| pair(fields, prompt, completion));
    }
    let form = FORMS.iter().find(|form| form.fields.iter().all(|name| has(name)))?;
    Some((form.read)(fields))
}

fn string(fields: &Fields, name: &str) -> Parsed<String> {
    fields.get(name).and_then(Value::as_str).map(String::from).ok_or_else(|| format!("`{name}` should be a string"))
}

/// Prompt and completion, either both strings or, as in TRL, both lists of messages.
fn pair(fields: &Fields, prompt: &str, completion: &str) -> Parsed<SampleContent> {
    if fields.get(prompt).is_some_and(Value::is_array) {
        let mut turns = messages(fields, prompt)?;
        let scored_from = turns.len();
        turns.extend(messages(fields, completion)?);
        return Ok(SampleContent::Chat { messages: turns, scored_from, context: TemplateContext::default() });
    }
    Ok(SampleContent::Completion { prompt: string(fields, prompt)?, completion: string(fields, completion)? })
}

fn instruction(fields: &Fields) -> Parsed<SampleContent> {
    let input = match fields.get("input") {
        None | Some(Value::Null) => String::new(),
        Some(_) => string(fields, "input")?,
    };
    let (instruction, output) = (string(fields, "instruction")?, string(fields, "output")?);
    Ok(SampleContent::Instruction { instruction, input, output })
}

fn conversation(fields: &Fields) -> Parsed<SampleContent> {
    Ok(SampleContent::Chat {
        messages: messages(fields, "messages")?,
        scored_from: 0,
        context: TemplateContext::default(),
    })
}

fn messages(fields: &Fields, name: &str) -> Parsed<Vec<Message>> {
    let wrong = || format!("`{name}` should be a list of objects with `role` and `content`");
    let turns = fields.get(name).and_then(Value::as_array).ok_or_else(wrong)?;
    let message = |turn: &Value| {
        let turn = turn.as_object().filter(|turn| turn.get("role").is_some_and(Value::is_string))?;
        Some(Message { fields: turn.clone(), scored: None })
    };
    turns.iter().map(message).collect::<Option<_>>().ok_or_else(wrong)
}

/// `input_ids`, and `labels` that mask by −100. Without labels, everything is scored.
fn tokens(fields: &Fields) -> Parsed<SampleContent> {
    let list = |name: &str| fields.get(name).and_then(Value::as_array);
    let ids = list("input_ids")
        .and_then(|ids| ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect::<Option<Vec<u32>>>())
        .ok_or("`input_ids` should be a list of token ids")?;
    let is_scored = |(label, &id): (&Value, &u32)| match label.as_i64() {
        Some(-100) => Ok(false),
        Some(label) if label == i64::from(id) => Ok(true),
        _ => Err("each label should be -100 or the token id at its place".to_string()),
    };
    let scored = match list("labels") {
        None if fields.contains_key("labels") => return Err("`labels` should be a list".into()),
        None => vec![true; ids.len()],
        Some(labels) if labels.len() != ids.len() => return Err("`labels` and `input_ids` differ in length".into()),
        Some(labels) => labels.iter().zip(&ids).map(is_scored).collect::<Parsed<_>>()?,
    };
    Ok(SampleContent::Tokens { ids, scored })
}
