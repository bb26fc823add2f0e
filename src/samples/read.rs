//! Reading sample files: JSON lines or one JSON array, in the forms that training sets have.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Result, SampleError};
use crate::files::{self, json};

/// The largest file of samples. It is read as a whole, and its values take several times as much.
const LARGEST: u64 = 256 << 20;

/// A sample as it was written, not yet tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The line, or the place in a JSON array, counted from 1.
    pub line: usize,
    pub content: Content,
}

/// The forms of samples.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A prompt and the completion that is scored.
    Completion { prompt: String, completion: String },
    /// An instruction, an optional input and the output that is scored.
    Instruction { instruction: String, input: String, output: String },
    /// Turns; all of the assistant's from `scored_from` on are scored.
    Chat { messages: Vec<Message>, scored_from: usize },
    /// Text of which everything is scored.
    Text(String),
    /// Token ids; those whose label is not −100 are scored.
    Tokens { ids: Vec<u32>, scored: Vec<bool> },
}

/// One turn of a conversation. Fields that only some chat templates read are kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Message(pub Map<String, Value>);

impl Message {
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::from_iter([("role".to_string(), role.into()), ("content".to_string(), content.into())]))
    }

    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }
}

/// How fields are named, where they are not named as usual.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub prompt_field: Option<String>,
    pub completion_field: Option<String>,
}

/// Reads every sample of a file.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Raw>> {
    let bytes = files::read_up_to(path, LARGEST)?;
    parse(&bytes, path, options)
}

/// Parses the bytes of a sample file; `path` is only for messages.
pub fn parse(bytes: &[u8], path: &Path, options: &ReadOptions) -> Result<Vec<Raw>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        malformed(path, line, "it is not UTF-8".into())
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let raws =
        if text.trim_start().starts_with('[') { array(text, path, options) } else { lines(text, path, options) }?;
    if raws.is_empty() {
        return Err(SampleError::Empty { path: path.into() }.into());
    }
    Ok(raws)
}

/// The samples of a JSON array. Each is made before the next one is read: as JSON it takes many times as much.
fn array(text: &str, path: &Path, options: &ReadOptions) -> Result<Vec<Raw>> {
    let (mut raws, mut wrong) = (Vec::new(), None);
    let parsed = json::for_each(text.as_bytes(), |value| {
        if wrong.is_none() {
            match raw(value, raws.len() + 1, path, options) {
                Ok(sample) => raws.push(sample),
                Err(error) => wrong = Some(error),
            }
        }
    });
    let not_json = |error: serde_json::Error| malformed(path, error.line(), format!("not JSON: {error}"));
    match wrong {
        Some(error) => Err(error),
        None => parsed.map(|()| raws).map_err(|error| not_json(error).into()),
    }
}

/// The samples of JSON lines.
fn lines(text: &str, path: &Path, options: &ReadOptions) -> Result<Vec<Raw>> {
    let sample = |(number, line): (usize, &str)| {
        let value = json::parse(line.as_bytes()).map_err(|error| {
            let message = error.to_string();
            // serde_json counts lines inside the line, which would only confuse.
            malformed(path, number, format!("not JSON: {}", message.split(" at line").next().unwrap_or(&message)))
        })?;
        raw(value, number, path, options)
    };
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).map(sample).collect()
}

fn malformed(path: &Path, line: usize, problem: String) -> SampleError {
    SampleError::Malformed { path: path.into(), line, problem }
}

fn raw(value: Value, line: usize, path: &Path, options: &ReadOptions) -> Result<Raw> {
    let Value::Object(fields) = value else {
        let problem = "a sample should be a JSON object".into();
        return Err(SampleError::Malformed { path: path.into(), line, problem }.into());
    };
    let content = match content(&fields, options) {
        Some(content) => content.map_err(|problem| SampleError::Malformed { path: path.into(), line, problem })?,
        None => {
            let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
            return Err(SampleError::UnknownForm { path: path.into(), line, fields: names.join(", ") }.into());
        }
    };
    Ok(Raw { line, content })
}

/// Recognises the form by the fields: `None` if there is none, an error if the form is clear but its values are wrong.
fn content(fields: &Map<String, Value>, options: &ReadOptions) -> Option<std::result::Result<Content, String>> {
    let has = |name: &str| fields.contains_key(name);
    if options.prompt_field.is_some() || options.completion_field.is_some() {
        let prompt = options.prompt_field.as_deref().unwrap_or("prompt");
        let completion = options.completion_field.as_deref().unwrap_or("completion");
        return (has(prompt) && has(completion)).then(|| pair(fields, prompt, completion));
    }
    if has("input_ids") {
        Some(tokens(fields))
    } else if has("messages") {
        Some(messages(fields, "messages").map(|messages| Content::Chat { messages, scored_from: 0 }))
    } else if has("prompt") && has("completion") {
        Some(pair(fields, "prompt", "completion"))
    } else if has("instruction") && has("output") {
        Some(instruction(fields))
    } else if has("question") && has("answer") {
        Some(pair(fields, "question", "answer"))
    } else if has("text") {
        Some(string(fields, "text").map(Content::Text))
    } else {
        None
    }
}

fn string(fields: &Map<String, Value>, name: &str) -> std::result::Result<String, String> {
    fields.get(name).and_then(Value::as_str).map(String::from).ok_or_else(|| format!("`{name}` should be a string"))
}

/// Prompt and completion as strings or, as TRL takes them too, both as lists of messages.
fn pair(fields: &Map<String, Value>, prompt: &str, completion: &str) -> std::result::Result<Content, String> {
    if fields.get(prompt).is_some_and(Value::is_array) {
        let mut turns = messages(fields, prompt)?;
        let scored_from = turns.len();
        turns.extend(messages(fields, completion)?);
        return Ok(Content::Chat { messages: turns, scored_from });
    }
    Ok(Content::Completion { prompt: string(fields, prompt)?, completion: string(fields, completion)? })
}

fn instruction(fields: &Map<String, Value>) -> std::result::Result<Content, String> {
    let input = match fields.get("input") {
        None | Some(Value::Null) => String::new(),
        Some(_) => string(fields, "input")?,
    };
    Ok(Content::Instruction { instruction: string(fields, "instruction")?, input, output: string(fields, "output")? })
}

fn messages(fields: &Map<String, Value>, name: &str) -> std::result::Result<Vec<Message>, String> {
    let wrong = || format!("`{name}` should be a list of objects with `role` and `content`");
    let turns = fields.get(name).and_then(Value::as_array).ok_or_else(wrong)?;
    let message = |turn: &Value| {
        let turn = turn.as_object().filter(|turn| turn.get("role").is_some_and(Value::is_string))?;
        Some(Message(turn.clone()))
    };
    turns.iter().map(message).collect::<Option<_>>().ok_or_else(wrong)
}

/// `input_ids` with `labels`, where −100 masks; without labels everything is scored.
fn tokens(fields: &Map<String, Value>) -> std::result::Result<Content, String> {
    let list = |name: &str| fields.get(name).and_then(Value::as_array);
    let ids = list("input_ids")
        .and_then(|ids| ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect::<Option<Vec<u32>>>())
        .ok_or("`input_ids` should be a list of token ids")?;
    let scored = match list("labels") {
        None if fields.contains_key("labels") => return Err("`labels` should be a list".into()),
        None => vec![true; ids.len()],
        Some(labels) if labels.len() != ids.len() => return Err("`labels` and `input_ids` differ in length".into()),
        Some(labels) => labels
            .iter()
            .zip(&ids)
            .map(|(label, &id)| match label.as_i64() {
                Some(-100) => Ok(false),
                Some(label) if label == i64::from(id) => Ok(true),
                _ => Err("each label should be -100 or the token id at its place".to_string()),
            })
            .collect::<std::result::Result<_, _>>()?,
    };
    Ok(Content::Tokens { ids, scored })
}
