//! The tokens that the tokenizer of a GGUF file makes of texts, for `scripts/check/gguf_tokenizers.py` to hold against llama.cpp.
//!
//! ```text
//! cargo run --release --example gguf_tokens -- TEXTS FILE …
//! ```
//! `TEXTS` is a JSON list of texts. For each GGUF file it prints a line: a JSON list with the ids of each text, or the error as text.

use std::error::Error;
use std::path::Path;

use lora_slim::samples::TextModel;
use lora_slim::samples::tokenizer::EncodeAs;
use lora_slim::tensors::TensorStore;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let texts = arguments.next().ok_or("give a list of texts and GGUF files")?;
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts)?)?;
    for file in arguments {
        let line = ids(Path::new(&file), &texts).unwrap_or_else(|error| error.to_string().into());
        println!("{line}");
    }
    Ok(())
}

fn ids(file: &Path, texts: &[String]) -> Result<Value, Box<dyn Error>> {
    let (_, metadata) = TensorStore::open_gguf(file)?;
    let model = TextModel::from_gguf(&metadata, file)?;
    let encode = |text: &String| Ok(model.tokenizer.encode(text, EncodeAs::WithSpecial)?.ids.into());
    texts.iter().map(encode).collect::<Result<Vec<Value>, _>>().map(Value::from)
}
