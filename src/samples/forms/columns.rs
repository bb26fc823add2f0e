//! Columns that forms share, and those that a form must not pass by.

use serde_json::Value;

use super::Form;
use super::row::{Parsed, Problem, Row};
use super::turns::as_flag;

const CHAT: &str = "it goes into a chat template, and only samples with messages have one; give the prompt as messages";
const TOKENS: &str = "it belongs to `input_ids`, and there are none";
const PROMPT: &str = "this form of sample has no turn before which it could stand";
const MEDIA: &str = "only text is read";

/// Columns that change what a sample means. A form that does not read one refuses it.
const MEANINGFUL: [(&str, &str); 36] = [
    ("tools", CHAT),
    ("functions", "describe them in `tools`"),
    ("function_call", "put it into the messages as `tool_calls`"),
    ("documents", CHAT),
    ("chat_template_kwargs", CHAT),
    ("chat_template", "a sample cannot bring a chat template; name one with `--tokenizer`"),
    ("enable_thinking", "put it into `chat_template_kwargs`"),
    ("thinking_mode", "put it into `chat_template_kwargs`"),
    ("reasoning_effort", "put it into `chat_template_kwargs`"),
    ("attention_mask", TOKENS),
    ("position_ids", TOKENS),
    ("completion_mask", TOKENS),
    ("assistant_masks", TOKENS),
    ("loss_mask", TOKENS),
    ("seq_lengths", TOKENS),
    ("response_mask", TOKENS),
    ("token_weights", "tokens are scored or not; they have no weights"),
    ("cu_seqlens", "packed rows are split by `position_ids`, `seq_lengths` or `attention_mask`"),
    ("shift_labels", "give `labels`, which are not shifted"),
    ("token_type_ids", TOKENS),
    ("inputs_embeds", "embeddings are not read; give `input_ids`"),
    ("system", PROMPT),
    ("system_prompt", PROMPT),
    ("history", PROMPT),
    ("weight", "samples have no weights"),
    ("loss_weight", "samples have no weights"),
    ("sample_weight", "samples have no weights"),
    ("image", MEDIA),
    ("images", MEDIA),
    ("pixel_values", MEDIA),
    ("image_grid_thw", MEDIA),
    ("audio", MEDIA),
    ("audios", MEDIA),
    ("input_features", MEDIA),
    ("video", MEDIA),
    ("videos", MEDIA),
];

/// Columns of a prompt's parts, and the prompts to which they are added. TRL's `prompt`, and one that the user names, is complete.
const PARTS: [&str; 4] = ["passage", "paragraph", "options", "choices"];
const WITH_PARTS: [&str; 3] = ["question", "query", "instruction"];
const PART: &str = "it may belong to the prompt; put it there, or name a complete prompt with `--prompt-field`";

/// Columns that are already in the text or the tokens of a sample that is given as such.
const RENDERED: [&str; 11] = [
    "tools",
    "functions",
    "function_call",
    "documents",
    "chat_template_kwargs",
    "chat_template",
    "enable_thinking",
    "thinking_mode",
    "reasoning_effort",
    "system",
    "system_prompt",
];

/// Refuses what the form should have read, and notes the other columns that it did not read.
pub fn settle(row: &mut Row, form: &Form) -> Parsed<()> {
    for column in row.unread() {
        let is_part = PARTS.contains(&column) && WITH_PARTS.contains(&form.columns[0]);
        let known = MEANINGFUL.iter().find(|(name, _)| *name == column).map(|(_, reason)| *reason);
        let reason = if is_part { Some(PART) } else { known };
        match reason {
            Some(reason) if !(form.is_rendered && RENDERED.contains(&column)) => {
                return Err(Problem::unsupported(column, reason));
            }
            _ => row.remarks.unread(column),
        }
    }
    Ok(())
}

/// Columns by which data say that a sample is not to be learnt, and what is said of those that are left out for it.
const SAMPLE_MARKS: [(&str, &str); 5] = [
    ("label", "whose `label` is false"),
    ("kto_tag", "whose `kto_tag` is false"),
    ("weight", "whose `weight` is 0"),
    ("sample_weight", "whose `sample_weight` is 0"),
    ("train", "whose `train` is false"),
];

/// Why a sample is not to be learnt, if the data say so: KTO's `label` (LLaMA-Factory's `kto_tag`), or a weight of 0. Beside a
/// `rendered` sample, a label is the class of the text.
pub fn left_out(row: &Row, rendered: bool) -> Option<&'static str> {
    let says = |name: &str| {
        let value = row.peek(name)?;
        let is_label = matches!(name, "label" | "kto_tag" | "train");
        if rendered && is_label {
            return None;
        }
        // Only truth values are marks: numbers and texts under `label` are classes.
        let mark = if is_label { flag_or_text(value) } else { as_flag(value) };
        mark.inspect(|_| _ = row.get(name))
    };
    SAMPLE_MARKS.iter().find(|(name, _)| says(name) == Some(false)).map(|(_, reason)| *reason)
}

/// A truth value, or its text in a table that has only text.
fn flag_or_text(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}
