//! A manifest: jobs as lines of JSON, each with its own options.

use std::collections::HashSet;
use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::jobs::Job;
use super::options;
use crate::error::{BatchError, Result};
use crate::files;

/// The largest manifest that is read, and its longest line, in bytes.
const LARGEST: u64 = 64 << 20;
const LONGEST_LINE: usize = 1 << 20;
/// The most jobs, which is as many as a file of results holds, and the most options of all jobs together.
const MOST_JOBS: usize = 300_000;
const MOST_OPTIONS: usize = 1_000_000;

/// Flags that apply to the whole batch, or that make no sense for one of its jobs.
const OF_THE_BATCH: [&str; 10] =
    ["output", "force", "json", "dry-run", "report", "quiet", "help", "config", "no-config", "print-config"];

/// A line of a manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    adapter: String,
    base: Option<String>,
    samples: Option<String>,
    /// The job's name, and its folder below the output; by default the last part of `adapter`.
    output: Option<String>,
    /// Flags by their names, without dashes.
    #[serde(default)]
    options: Map<String, Value>,
}

/// Reads the jobs of a manifest, sorted by name. Its paths are relative to the working directory.
pub fn read(path: &Path) -> Result<Vec<Job>> {
    let text = files::read_text(path, LARGEST)?;
    let mut jobs = Vec::new();
    let mut names = HashSet::new();
    let mut options = 0;
    for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |reason: String| BatchError::Manifest { path: path.into(), line: place + 1, reason };
        if line.len() > LONGEST_LINE {
            return Err(wrong(format!("it is longer than {LONGEST_LINE} bytes")).into());
        }
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let job = line.job().map_err(wrong)?;
        if !names.insert(job.name.clone()) {
            let reason = format!("`{}` is also the name of another job; set its `output`", job.name);
            return Err(wrong(reason).into());
        }
        options += job.options.values().map(|value| 1 + value.as_array().map_or(0, Vec::len)).sum::<usize>();
        if jobs.len() == MOST_JOBS || options > MOST_OPTIONS {
            let reason = format!("a manifest has at most {MOST_JOBS} jobs, with {MOST_OPTIONS} options in all");
            return Err(wrong(reason).into());
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        return Err(BatchError::NoAdapters { path: path.into() }.into());
    }
    jobs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(jobs)
}

impl Line {
    fn job(self) -> std::result::Result<Job, String> {
        let name = match self.output {
            Some(output) => output,
            None => Path::new(&self.adapter).file_name().and_then(|name| name.to_str()).unwrap_or_default().into(),
        };
        let parts: Option<Vec<&str>> = Path::new(&name).components().map(plain).collect();
        let name = parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("/"));
        let name = name.ok_or("`output` should be a path below the output folder, without `..`")?;
        let mut options = self.options;
        if let Some(flag) = options.keys().find(|flag| OF_THE_BATCH.contains(&flag.as_str())) {
            return Err(format!("`{flag}` applies to the whole batch, not to one of its jobs"));
        }
        let places = [("base", self.base), ("samples", self.samples)].into_iter();
        options.extend(places.filter_map(|(flag, value)| Some((flag.to_string(), Value::String(value?)))));
        // Report a wrong value here, with its line.
        options::to_words(&options)?;
        Ok(Job { name, adapter: self.adapter, options })
    }
}

/// A component of a path that stays below its start and is not hidden.
fn plain(part: Component<'_>) -> Option<&str> {
    match part {
        Component::Normal(part) => part.to_str().filter(|part| !part.starts_with('.')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<Job>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn lines_become_jobs() {
        let jobs = read_text(
            "{\"adapter\": \"in/b\", \"samples\": \"s.jsonl\", \"options\": {\"chat\": true}}\n\n\
             {\"adapter\": \"in/a\", \"output\": \"team/a\", \"base\": \"org/base\"}\n",
        );
        let expected = |name: &str, adapter: &str, options: Value| Job {
            name: name.into(),
            adapter: adapter.into(),
            options: options.as_object().unwrap().clone(),
        };
        let first = expected("b", "in/b", json!({"chat": true, "samples": "s.jsonl"}));
        assert_eq!(jobs.unwrap(), [first, expected("team/a", "in/a", json!({"base": "org/base"}))]);
    }

    #[test]
    fn malformed_lines_are_refused() {
        for wrong in [
            "",
            "{",
            "{}",
            "{\"adapter\": 1}",
            "{\"adapter\": \"a\", \"sample\": \"typo\"}",
            "{\"adapter\": \"a\", \"output\": \"../a\"}",
            "{\"adapter\": \"a\", \"output\": \"/a\"}",
            "{\"adapter\": \"a\", \"output\": \".a\"}",
            "{\"adapter\": \"/\"}",
            "{\"adapter\": \"a\", \"options\": {\"chat\": null}}",
            "{\"adapter\": \"a\"}\n{\"adapter\": \"b/a\"}",
            "{\"adapter\": \"a\", \"options\": {\"dry-run\": true}}",
        ] {
            assert!(read_text(wrong).is_err(), "{wrong}");
        }
    }
}
