//! Reading sample files: a container holds records, and a record has a form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::containers::{self, LARGEST};
use super::content::SampleContent;
use super::forms::{self, FieldNames, Problem};
use super::places::{self, Found};
use super::prompts;
use super::remarks::Remarks;
use crate::error::{Result, SampleError};
use crate::files;
use crate::format::first_names;

/// The most columns that an error names.
const MOST_NAMES: usize = 20;

/// A sample as it was written, before it becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSample {
    /// The line or, in a JSON array, the place, counted from 1.
    pub line: usize,
    /// The number of its record among those of all files. Samples of one record are no independent draws.
    pub record: usize,
    pub content: SampleContent,
}

/// Files of samples that a program passes as bytes, by the paths that stand for them.
pub type PassedFiles = BTreeMap<PathBuf, Arc<[u8]>>;

/// How samples are read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// What is read in place of files of these paths.
    pub passed: PassedFiles,
    pub fields: FieldNames,
    /// The split of a data set to read.
    pub split: Option<String>,
    /// Whether records may be prompts without answers.
    pub prompts: bool,
}

/// The samples of one file.
#[derive(Debug, Clone)]
pub struct RawFile {
    pub path: PathBuf,
    /// Of the bytes as they are stored.
    pub sha256: String,
    pub samples: Vec<RawSample>,
}

/// The samples of all files, in their order.
#[derive(Debug, Clone)]
pub struct RawFiles {
    pub files: Vec<RawFile>,
    /// What the files hold that is not used, or not as it is written, one sentence each.
    pub remarks: Vec<String>,
    /// The slice of each record; empty without a field of slices.
    pub slices: Vec<String>,
}

/// Reads the samples of files, of the folders of data sets, or of standard input (`-`).
pub fn read_all(paths: &[PathBuf], options: &ReadOptions) -> Result<RawFiles> {
    let mut remarks = Remarks::default();
    let (mut files, mut records) = (Vec::new(), Records::default());
    for given in paths {
        let passed = options.passed.get(given);
        let found = match passed {
            Some(_) => Found { files: vec![given.clone()], split: options.split.clone() },
            None => places::find(given, options.split.as_deref(), &mut remarks)?,
        };
        for path in found.files {
            let path_text = places::named(&path);
            let source = Source {
                path: &path_text,
                split: found.split.as_deref(),
                names: &options.fields,
                prompts: options.prompts,
            };
            // Only what the user named may be a pipe: in a folder nobody is at its other end.
            let is_named = path == *given;
            let bytes = match passed {
                Some(bytes) => files::read_pipe(&**bytes, &path, LARGEST)?,
                None if is_named => places::read(&path, LARGEST)?,
                None => files::read_up_to(&path, LARGEST)?,
            };
            let sha256 = files::sha256_of(&bytes);
            let samples = source.parse(bytes, &mut records, &mut remarks)?;
            files.push(RawFile { path: source.path.into(), sha256, samples });
        }
    }
    if let Some(empty) = files.iter().find(|file| file.samples.is_empty()) {
        if files.iter().all(|file| file.samples.is_empty()) {
            let (path, left_out) = (empty.path.clone(), remarks.left_out().join(", "));
            let error = SampleError::Empty { path: path.clone() };
            return Err(if left_out.is_empty() { error } else { SampleError::AllLeftOut { path, left_out } }.into());
        }
        remarks.say(format!("`{}` holds no samples", empty.path.display()));
    }
    Ok(RawFiles { files, remarks: remarks.into_sentences(), slices: records.slices })
}

/// Reads the samples of a file, without the remarks on them.
pub fn read(path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    parse(&places::read(path, LARGEST)?, path, names)
}

/// Parses the bytes of a sample file. `path` is for recognising the container and for messages.
pub fn parse(bytes: &[u8], path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    let samples = Source { path, split: None, names, prompts: false }.parse(
        bytes.into(),
        &mut Records::default(),
        &mut Remarks::default(),
    )?;
    if samples.is_empty() { Err(SampleError::Empty { path: path.into() }.into()) } else { Ok(samples) }
}

/// The records of all files.
#[derive(Default)]
struct Records {
    count: usize,
    /// The slice of each, if they have a field of slices.
    slices: Vec<String>,
}

/// A file, and how it is read.
struct Source<'a> {
    path: &'a Path,
    split: Option<&'a str>,
    names: &'a FieldNames,
    prompts: bool,
}

impl Source<'_> {
    /// The samples of the file. `records` has the records of all files before.
    fn parse(&self, bytes: Vec<u8>, records: &mut Records, remarks: &mut Remarks) -> Result<Vec<RawSample>> {
        let (mut samples, mut of_forms) = (Vec::new(), Remarks::default());
        containers::for_each_record(self.path, bytes, self.split, remarks, &mut |line, record| {
            if let Some(field) = &self.names.slice_field {
                records.slices.push(self.slice(&record, field, line)?);
            }
            let contents = self.contents(record, line, &mut of_forms)?;
            let record = records.count;
            records.count += 1;
            samples.extend(contents.into_iter().map(|content| RawSample { line, record, content }));
            Ok(())
        })?;
        remarks.add(of_forms);
        Ok(samples)
    }

    /// The value of the field of slices: a text, a number or a truth value.
    fn slice(&self, record: &Value, field: &str, line: usize) -> Result<String> {
        match record.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => {
                let problem = format!("`{field}`, by which samples are sliced, should be a text or a number");
                Err(SampleError::Malformed { path: self.path.into(), line, problem }.into())
            }
        }
    }

    fn contents(&self, record: Value, line: usize, remarks: &mut Remarks) -> Result<Vec<SampleContent>> {
        let path = self.path.into();
        let Value::Object(mut fields) = record else {
            return Err(
                SampleError::Malformed { path, line, problem: "a sample should be a JSON object".into() }.into()
            );
        };
        if self.prompts {
            prompts::complete(&mut fields, self.names);
        }
        let error = match forms::read(&fields, self.names, remarks) {
            Some(Ok(contents)) => return Ok(contents),
            Some(Err(Problem::Malformed(problem))) => SampleError::Malformed { path, line, problem },
            Some(Err(Problem::Unsupported { field, reason })) => SampleError::Unsupported { path, line, field, reason },
            None => {
                let names = first_names(&fields.keys().collect::<Vec<_>>(), MOST_NAMES);
                SampleError::UnknownForm { path, line, fields: names, hint: forms::hint(&fields, self.names) }
            }
        };
        Err(error.into())
    }
}
