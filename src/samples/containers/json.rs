//! JSON: an array of records, one record a line, records that span lines, or a wrapper around a list of records.

use std::borrow::Cow;

use super::text::text;
use super::{OnRecord, SampleFile, wrapper};
use crate::error::{Result, SampleError};
use crate::files::{json, json_stream};
use crate::samples::remarks::Remarks;

/// An array of records.
pub fn array(file: &SampleFile, remarks: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let text = json_text(file, remarks)?;
    refuse_split(file)?;
    for_each(file, on_record, |take| json::for_each(text.as_bytes(), take))
}

/// Records as objects: one a line, or each over several lines. A single object may wrap a list of records.
pub fn objects(file: &SampleFile, remarks: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let text = json_text(file, remarks)?;
    if let Some(key) = wrapper::list_of_records(file, &text, remarks)? {
        return for_each(file, on_record, |take| json_stream::for_each_under(&text, &key, take));
    }
    refuse_split(file)?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // A first line that ends inside a value begins a record of several lines.
    if json_stream::first_value(first).is_err_and(|error| error.is_eof()) {
        return spanning_lines(file, &text, on_record);
    }
    lines(file, &text, on_record)
}

/// Passes each value that `read` finds to `on_record`, with its place.
fn for_each(
    file: &SampleFile,
    on_record: OnRecord,
    read: impl FnOnce(&mut dyn FnMut(serde_json::Value)) -> serde_json::Result<()>,
) -> Result<()> {
    let (mut place, mut result) = (0, Ok(()));
    let parsed = read(&mut |value| {
        place += 1;
        if result.is_ok() {
            result = on_record(place, value);
        }
    });
    result?;
    Ok(parsed.map_err(|error| file.malformed(error.line(), not_json(&error.to_string())))?)
}

fn lines(file: &SampleFile, text: &str, on_record: OnRecord) -> Result<()> {
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let value = json::parse_record(line.as_bytes()).map_err(|error| {
            let message = error.to_string();
            // serde_json counts lines within this line, which would be misleading.
            file.malformed(number, not_json(message.split(" at line").next().unwrap_or(&message)))
        })?;
        on_record(number, value)?;
    }
    Ok(())
}

fn spanning_lines(file: &SampleFile, text: &str, on_record: OnRecord) -> Result<()> {
    // Lines are counted from one record to the next.
    let (mut line, mut counted, mut result) = (1, 0, Ok(()));
    let parsed = json_stream::for_each_value(text, |start, value| {
        let start = start + text[start..].len() - text[start..].trim_start().len();
        line += text[counted..start].matches('\n').count();
        counted = start;
        result = on_record(line, value);
        result.is_ok()
    });
    result?;
    Ok(parsed.map_err(|error| file.malformed(error.line(), not_json(&error.to_string())))?)
}

/// What is wrong with a text, with a word on what Python writes though it is no text: half of a character of UTF-16.
fn not_json(problem: &str) -> String {
    if problem.contains(json::REPEATED) {
        return problem.into();
    }
    let is_half = ["hex escape", "surrogate"].iter().any(|words| problem.contains(words));
    let remark = if is_half { "; half of a surrogate pair (\\ud800 to \\udfff) is no character" } else { "" };
    format!("not JSON: {problem}{remark}")
}

/// A file of records has no splits to choose from.
fn refuse_split(file: &SampleFile) -> Result<()> {
    match file.split {
        Some(split) => {
            Err(SampleError::NoSplit { path: file.path.into(), split: split.into(), splits: String::new() }.into())
        }
        None => Ok(()),
    }
}

/// The text of a file, in which the numbers that only Python writes are null: NaN and the infinities.
fn json_text<'a>(file: &SampleFile<'a>, remarks: &mut Remarks) -> Result<Cow<'a, str>> {
    let text = text(file)?;
    let Some(replaced) = json::without_nan(text.as_bytes()).and_then(|text| String::from_utf8(text).ok()) else {
        return Ok(text);
    };
    remarks.say("`NaN` and `Infinity`, which are not JSON, are read as null");
    Ok(Cow::Owned(replaced))
}
