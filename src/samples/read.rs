//! Reading sample files: a container holds records, and a record has a form.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::containers::{self, LARGEST};
use super::content::SampleContent;
use super::forms::{self, FieldNames, Problem};
use super::places;
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

/// How samples are read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub fields: FieldNames,
    /// The split of a data set to read.
    pub split: Option<String>,
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
}

/// Reads the samples of files, of the folders of data sets, or of standard input (`-`).
pub fn read_all(paths: &[PathBuf], options: &ReadOptions) -> Result<RawFiles> {
    let mut remarks = Remarks::default();
    let (mut files, mut records) = (Vec::new(), 0);
    for path in paths {
        let found = places::find(path, options.split.as_deref(), &mut remarks)?;
        for path in found.files {
            let source = Source { path: &places::named(&path), split: found.split.as_deref(), names: &options.fields };
            let bytes = places::read(&path, LARGEST)?;
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
    Ok(RawFiles { files, remarks: remarks.into_sentences() })
}

/// Reads the samples of a file, without the remarks on them.
pub fn read(path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    parse(&places::read(path, LARGEST)?, path, names)
}

/// Parses the bytes of a sample file. `path` is for recognising the container and for messages.
pub fn parse(bytes: &[u8], path: &Path, names: &FieldNames) -> Result<Vec<RawSample>> {
    let samples = Source { path, split: None, names }.parse(bytes.into(), &mut 0, &mut Remarks::default())?;
    if samples.is_empty() { Err(SampleError::Empty { path: path.into() }.into()) } else { Ok(samples) }
}

/// A file, and how it is read.
struct Source<'a> {
    path: &'a Path,
    split: Option<&'a str>,
    names: &'a FieldNames,
}

impl Source<'_> {
    /// The samples of the file. `records` counts the records of all files.
    fn parse(&self, bytes: Vec<u8>, records: &mut usize, remarks: &mut Remarks) -> Result<Vec<RawSample>> {
        let (mut samples, mut of_forms) = (Vec::new(), Remarks::default());
        containers::for_each_record(self.path, bytes, self.split, remarks, &mut |line, record| {
            let contents = self.contents(record, line, &mut of_forms)?;
            let record = *records;
            *records += 1;
            samples.extend(contents.into_iter().map(|content| RawSample { line, record, content }));
            Ok(())
        })?;
        remarks.add(of_forms);
        Ok(samples)
    }

    fn contents(&self, record: Value, line: usize, remarks: &mut Remarks) -> Result<Vec<SampleContent>> {
        let path = self.path.into();
        let Value::Object(fields) = record else {
            return Err(
                SampleError::Malformed { path, line, problem: "a sample should be a JSON object".into() }.into()
            );
        };
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
