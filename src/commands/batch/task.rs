//! A job with its flags read: the same words, through the same parser, as one would write for `slim` or `cut`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::adapter::AdapterConfig;
use crate::adapter::export::Format;
use crate::base;
use crate::batch::jobs::Job;
use crate::batch::stamp::Hashes;
use crate::cli::{self, BatchArgs, Cli, CutArgs, SlimArgs};
use crate::error::{BatchError, Result};
use crate::report::REPORT_NAME;

/// What is done with a job's adapter.
pub enum Command {
    Slim(Box<SlimArgs>),
    Cut(Box<CutArgs>),
}

pub struct Task<'a> {
    pub job: &'a Job,
    /// The flags, of which those of the job come last and win.
    pub words: Vec<OsString>,
    pub output: PathBuf,
    /// What the output is made of.
    inputs: Vec<PathBuf>,
}

impl<'a> Task<'a> {
    pub fn read(job: &'a Job, args: &BatchArgs) -> Result<(Self, Command)> {
        let words: Vec<OsString> = args.flags.words.iter().chain(&job.words).cloned().collect();
        let has_samples = words.iter().any(|word| word.as_encoded_bytes().starts_with(b"--samples="));
        let output = args.output.join(&job.name);
        // What a batch wrote, a batch may replace.
        let force = args.force || output.join(REPORT_NAME).is_file();
        let mut line: Vec<OsString> = vec!["lora-slim".into(), if has_samples { "slim" } else { "cut" }.into()];
        line.extend(words.iter().cloned());
        line.extend(["--output".into(), output.clone().into()]);
        line.extend(force.then(|| "--force".into()));
        line.extend(["--".into(), OsString::from(&job.adapter)]);
        let command = match parse(line) {
            Ok(cli::Command::Slim(args)) => Command::Slim(Box::new(args)),
            Ok(cli::Command::Cut(args)) => Command::Cut(Box::new(args)),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                return Err(BatchError::NothingToDo.into());
            }
            Err(error) => return Err(BatchError::Options { name: job.name.clone(), reason: sentence(&error) }.into()),
            Ok(_) => unreachable!("the line begins with slim or cut"),
        };
        let inputs = command.inputs();
        Ok((Self { job, words, output, inputs }, command))
    }

    /// What tells whether its output has to be made again.
    pub fn stamp(&self, hashes: &Hashes) -> String {
        hashes.stamp(&self.words, &self.inputs)
    }

    pub fn is_written(&self) -> bool {
        self.output.join(REPORT_NAME).is_file()
    }

    /// The page beside the output's folder.
    pub fn page(&self) -> PathBuf {
        page_of(&self.output)
    }
}

impl Command {
    /// The inputs, as far as they are found.
    fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Command::Slim(args) => {
                let args = &args.evaluate;
                let mut inputs = vec![found(&args.adapter), args.samples.clone()];
                inputs.extend(base_of(&args.adapter, args.base.as_deref()));
                inputs.extend(args.test.iter().chain(&args.tokenizer).cloned());
                inputs
            }
            Command::Cut(args) if args.runtime.format == Format::Peft => vec![found(&args.adapter)],
            Command::Cut(args) => {
                let base = base_of(&args.adapter, args.base.as_deref());
                // Of the base model, only its configuration is read.
                let config = base.map(|base| if base.is_dir() { base.join("config.json") } else { base });
                std::iter::once(found(&args.adapter)).chain(config).collect()
            }
        }
    }
}

fn found(name: &str) -> PathBuf {
    base::find(name, None).unwrap_or_else(|_| name.into())
}

/// The base model that is given, or the one that the adapter names.
fn base_of(adapter: &str, given: Option<&str>) -> Option<PathBuf> {
    if let Some(name) = given {
        return Some(found(name));
    }
    let config = AdapterConfig::read(&found(adapter)).ok()?;
    base::find(config.text("base_model_name_or_path")?, config.text("revision")).ok()
}

fn page_of(output: &Path) -> PathBuf {
    let mut path = output.as_os_str().to_owned();
    path.push(".html");
    path.into()
}

fn parse(line: Vec<OsString>) -> std::result::Result<cli::Command, clap::Error> {
    let overriding = |command: clap::Command| command.args_override_self(true);
    let command = Cli::command().mut_subcommand("slim", overriding).mut_subcommand("cut", overriding);
    let matches = command.try_get_matches_from(line)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// What clap says first, without the usage of a command that the user did not type.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).into()
}
