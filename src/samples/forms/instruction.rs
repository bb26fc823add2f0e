//! An instruction, an optional input, and the output, as in Alpaca and Dolly.

use super::exchange::{self, Side};
use super::row::{Parsed, Row};
use crate::samples::SampleContent;

/// Reads an instruction and its output. LLaMA-Factory's `system` and `history` make a conversation of it.
pub fn read(row: &mut Row, [instruction, output]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let before = exchange::preamble(row)?;
    let instruction = row.string(instruction)?;
    let output = row.string(output)?;
    // Dolly's name of the input is `context`.
    let input = row.first_string(&["input", "context"])?.unwrap_or_default();
    if before.is_empty() {
        return Ok(vec![SampleContent::Instruction { instruction, input, output }]);
    }
    let prompt = Side::Text(request(instruction, &input));
    Ok(vec![exchange::chat(row, before, prompt, Side::Text(output))?])
}

/// The instruction and its input as one turn of the user.
pub fn request(instruction: String, input: &str) -> String {
    if input.is_empty() { instruction } else { format!("{instruction}\n\n{input}") }
}
