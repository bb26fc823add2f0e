//! A question with several reference answers, as in SQuAD.

use serde_json::Value;

use super::pair::with_context;
use super::row::{Parsed, Row};
use crate::samples::SampleContent;

/// Reads a question, its `context` and its answers: a string, a list of strings, or `{"text": […]}`. The first answer is scored.
pub fn read(row: &mut Row, [question, answers]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let wrong = || "the answers should be a string, a list of strings, or an object with `text`";
    let mut answers = match row.get(answers) {
        Some(Value::Object(fields)) => texts(fields.get("text")),
        other => texts(other),
    }
    .ok_or_else(wrong)?;
    let question = row.string(question)?;
    let prompt = with_context(row, question)?;
    answers.dedup();
    if answers.len() > 1 {
        row.remarks.say("the first of several `answers` is scored");
    }
    match answers.into_iter().next() {
        Some(completion) => Ok(vec![SampleContent::Completion { prompt, completion }]),
        None => {
            row.remarks.leave_out("whose `answers` are empty");
            Ok(Vec::new())
        }
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        _ => None,
    }
}
