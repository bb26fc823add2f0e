//! What lora-slim makes of chat templates, for `scripts/check/templates.py` to hold against transformers.
//!
//! ```text
//! cargo run --release --example render < TASKS.jsonl > RENDERED.jsonl
//! ```
//! A task is an object with `template`, `messages` and `tokens`, and optionally `tools`, `documents`, `kwargs` and `prompt`. Its
//! answer has `text` and the `spans` of generation blocks in bytes, or an `error`.

use std::error::Error;
use std::io::BufRead;

use lora_slim::samples::{ChatTemplate, Message, SpecialTokens, TemplateContext};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

fn answer(task: &Map<String, Value>) -> Result<Value, Box<dyn Error>> {
    let given = |name: &str| task.get(name).cloned().unwrap_or_default();
    let tokens: SpecialTokens = serde_json::from_value(given("tokens"))?;
    let messages: Vec<Map<String, Value>> = serde_json::from_value(given("messages"))?;
    let messages: Vec<Message> = messages.into_iter().map(|fields| Message { fields, scored: None }).collect();
    let context = TemplateContext {
        tools: task.get("tools").cloned(),
        documents: task.get("documents").cloned(),
        kwargs: given("kwargs").as_object().cloned().unwrap_or_default(),
    };
    let template = ChatTemplate::new(given("template").as_str().unwrap_or_default(), &tokens);
    Ok(match template.render(&messages, &context, given("prompt") == true) {
        Ok(rendered) => {
            let spans: Vec<[usize; 2]> = rendered.generation.iter().map(|span| [span.start, span.end]).collect();
            json!({ "text": rendered.text, "spans": spans })
        }
        Err(reason) => json!({ "error": reason }),
    })
}
