//! What samples become: the token ids of each, and which of them are scored, for `scripts/check/trl_marks.py` to hold against TRL.
//!
//! ```text
//! cargo run --release --example tokens -- TOKENIZER SAMPLES [--chat] [--assistant-only|--all-turns] [--chat-template FILE] [--date DAY]
//! ```
//! It prints a JSON list with one entry per record: the samples that it becomes, or the text of the error. Remarks go to stderr.

use std::error::Error;
use std::path::{Path, PathBuf};

use lora_slim::samples::read::{ReadOptions, read_all};
use lora_slim::samples::{EncodeOptions, RawSample, ScoredPart, TemplateOptions, TextModel, encode};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(tokenizer), Some(samples)) = (arguments.next(), arguments.next()) else {
        return Err("give a tokenizer and samples".into());
    };
    let mut template = TemplateOptions::default();
    let mut options = EncodeOptions::default();
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--chat" => options.chat = true,
            "--assistant-only" => options.scored = ScoredPart::AssistantTurns,
            "--all-turns" => options.scored = ScoredPart::Everything,
            "--chat-template" => template.file = Some(arguments.next().ok_or("name a file")?.into()),
            "--date" => template.date = arguments.next().ok_or("name a day")?.parse()?,
            other => return Err(format!("unknown flag `{other}`").into()),
        }
    }
    let text = TextModel::read(Path::new(&tokenizer))?.ok_or("the tokenizer is missing")?.with(&template)?;
    let path = PathBuf::from(samples);
    let read = read_all(std::slice::from_ref(&path), &ReadOptions::default())?;
    read.remarks.iter().for_each(|remark| eprintln!("{remark}"));
    let records = read.files.into_iter().flat_map(|file| file.samples);
    let entries: Vec<Value> = records.map(|record| entry(record, &text, options, &path)).collect();
    println!("{}", Value::from(entries));
    Ok(())
}

fn entry(record: RawSample, text: &TextModel, options: EncodeOptions, path: &Path) -> Value {
    match encode::encode(vec![record], Some(text), options, path, path) {
        Ok(samples) => samples.iter().map(|sample| json!({ "ids": sample.ids, "scored": sample.scored })).collect(),
        Err(error) => error.to_string().into(),
    }
}
