//! Reading sample files: a container holds records, and a record has a form.

use std::path::Path;

use serde_json::Value;

use super::containers;
use super::content::SampleContent;
use super::forms::{self, FieldNames, Problem};
use super::remarks::Remarks;
use crate::error::{Result, SampleError};
use crate::files;
use crate::format::first_names;

/// The largest file of samples that is read, in bytes. It is read as a whole, and its values take several times as much memory.
const LARGEST: u64 = 256 << 20;

/// The most columns that an error names.
const MOST_NAMES: usize = 20;

/// A sample as it was written, before it becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSample {
    /// The line or, in a JSON array, the place, counted from 1.
    pub line: usize,
    pub content: SampleContent,
}

/// Reads the samples of a file.
pub fn read(path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    parse(&files::read_up_to(path, LARGEST)?, path, names)
}

/// Parses the bytes of a sample file. `path` is for recognising the container and for messages.
pub fn parse(bytes: &[u8], path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    parse_with(bytes, path, names, &mut Remarks::default())
}

/// As [`parse`], with the remarks on what is read.
fn parse_with(bytes: &[u8], path: &Path, names: &FieldNames, remarks: &mut Remarks) -> Result<Vec<RawSample>> {
    let mut samples = Vec::new();
    containers::for_each_record(path, bytes, &mut |line, record| {
        let contents = contents(record, line, path, names, remarks)?;
        samples.extend(contents.into_iter().map(|content| RawSample { line, content }));
        Ok(())
    })?;
    if samples.is_empty() {
        return Err(SampleError::Empty { path: path.into() }.into());
    }
    Ok(samples)
}

fn contents(
    record: Value,
    line: usize,
    path: &Path,
    names: &FieldNames,
    remarks: &mut Remarks,
) -> Result<Vec<SampleContent>> {
    let path = path.into();
    let Value::Object(fields) = record else {
        return Err(SampleError::Malformed { path, line, problem: "a sample should be a JSON object".into() }.into());
    };
    let error = match forms::read(&fields, names, remarks) {
        Some(Ok(contents)) => return Ok(contents),
        Some(Err(Problem::Malformed(problem))) => SampleError::Malformed { path, line, problem },
        Some(Err(Problem::Unsupported { field, reason })) => SampleError::Unsupported { path, line, field, reason },
        None => {
            let fields_of = first_names(&fields.keys().collect::<Vec<_>>(), MOST_NAMES);
            SampleError::UnknownForm { path, line, fields: fields_of, hint: forms::hint(&fields, names) }
        }
    };
    Err(error.into())
}
