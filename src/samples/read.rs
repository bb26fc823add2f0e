//! Reading sample files: a container holds records, and a record has a form.

use std::path::Path;

use serde_json::Value;

use super::containers;
use super::content::SampleContent;
use super::forms::{self, FieldNames};
use crate::error::{Result, SampleError};
use crate::files;

/// The largest file of samples that is read, in bytes. It is read as a whole, and its values take several times as much memory.
const LARGEST: u64 = 256 << 20;

/// A sample as it was written, before it becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSample {
    /// The line or, in a JSON array, the place, counted from 1.
    pub line: usize,
    pub content: SampleContent,
}

/// Reads all samples of a file.
pub fn read(path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    parse(&files::read_up_to(path, LARGEST)?, path, names)
}

/// Parses the bytes of a sample file. `path` is for recognising the container and for messages.
pub fn parse(bytes: &[u8], path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    let mut samples = Vec::new();
    containers::for_each_record(path, bytes, &mut |line, record| {
        samples.push(RawSample { line, content: content(record, line, path, names)? });
        Ok(())
    })?;
    if samples.is_empty() {
        return Err(SampleError::Empty { path: path.into() }.into());
    }
    Ok(samples)
}

fn content(record: Value, line: usize, path: &Path, names: &FieldNames) -> Result<SampleContent> {
    let malformed = |problem| SampleError::Malformed { path: path.into(), line, problem };
    let Value::Object(fields) = record else {
        return Err(malformed("a sample should be a JSON object".into()).into());
    };
    match forms::read(&fields, names) {
        Some(content) => Ok(content.map_err(malformed)?),
        None => {
            let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
            Err(SampleError::UnknownForm { path: path.into(), line, fields: names.join(", ") }.into())
        }
    }
}
