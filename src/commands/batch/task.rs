//! A job with its flags read: the same words, through the same parser, as one would write for `slim` or `cut`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::adapter::AdapterConfig;
use crate::batch::jobs::Job;
use crate::batch::stamp::{self, Hashes};
use crate::cli::flags;
use crate::cli::{self, BatchArgs, Cli, CutArgs, SlimArgs};
use crate::error::{BatchError, Result};
use crate::export::Format;
use crate::files::REPORT_NAME;
use crate::hub::{self, BasePath};
use crate::report::batch::Record;

/// What is done with a job's adapter.
pub enum Command {
    Slim(Box<SlimArgs>),
    Cut(Box<CutArgs>),
}

pub struct Task<'a> {
    pub job: &'a Job,
    /// The flags, of which those of the job win.
    pub words: Vec<OsString>,
    pub output: PathBuf,
    /// What the output is made of.
    inputs: Vec<PathBuf>,
}

impl<'a> Task<'a> {
    pub fn read(job: &'a Job, args: &BatchArgs) -> Result<(Self, Command)> {
        let wrong = |reason: String| BatchError::Options { name: job.name.clone(), reason };
        let given = args.flags.words.iter().any(|word| word.as_encoded_bytes().starts_with(b"--samples="));
        let name = if given || job.options.contains_key("samples") { "slim" } else { "cut" };
        let mut cli = Cli::command();
        cli.build();
        let words = match cli.find_subcommand(name) {
            Some(command) => flags::overridden(command, &args.flags.words, &job.options).map_err(wrong)?,
            None => Vec::new(),
        };
        let output = args.output.join(&job.name);
        // What lora-slim wrote, it may replace.
        let force = args.force || output.join(REPORT_NAME).is_file();
        let mut line: Vec<OsString> = vec!["lora-slim".into(), name.into()];
        line.extend(words.iter().cloned());
        line.extend(["--output".into(), output.clone().into()]);
        line.extend(force.then(|| "--force".into()));
        line.extend(["--".into(), OsString::from(&job.adapter)]);
        let parsed = cli.try_get_matches_from(line).and_then(|matches| Cli::from_arg_matches(&matches));
        let command = match parsed.map(|cli| cli.command) {
            Ok(cli::Command::Slim(args)) => Command::Slim(Box::new(args)),
            Ok(cli::Command::Cut(args)) => Command::Cut(Box::new(args)),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                return Err(BatchError::NothingToDo.into());
            }
            Err(error) => return Err(wrong(sentence(&error)).into()),
            Ok(_) => unreachable!("the line begins with slim or cut"),
        };
        let inputs = command.inputs();
        Ok((Self { job, words, output, inputs }, command))
    }

    /// What tells whether its output has to be made again.
    pub fn stamp(&self, hashes: &Hashes) -> String {
        hashes.stamp(&self.words, &self.inputs)
    }

    /// Whether what a record tells of is there, and not what another run made since.
    pub fn is_written(&self, record: &Record) -> bool {
        record.written == stamp::of_output(&self.output) && (record.page.is_none() || self.page().is_file())
    }

    /// The page beside the output's folder.
    pub fn page(&self) -> PathBuf {
        let mut path = self.output.as_os_str().to_owned();
        path.push(".html");
        path.into()
    }
}

impl Command {
    /// The inputs, as far as they are found.
    fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Command::Slim(args) => {
                let args = &args.evaluate;
                let mut inputs = vec![found(&args.adapter), args.samples.clone()];
                inputs.extend(base_of(&args.adapter, args.base.as_deref()).map(|base| base.path().into()));
                inputs.extend(args.test.clone());
                inputs.extend(args.tokenizer.iter().flat_map(|path| tokenizer_files(path)));
                inputs
            }
            Command::Cut(args) => {
                // Of the base model, only its configuration is read, which is in the one file of GGUF.
                let base = match base_of(&args.adapter, args.base.as_deref()) {
                    Some(BasePath::Folder(folder)) => Some(folder.join("config.json")),
                    Some(BasePath::Gguf(file)) => Some(file).filter(|_| args.runtime.format != Format::Peft),
                    None => None,
                };
                std::iter::once(found(&args.adapter)).chain(base).collect()
            }
        }
    }
}

/// A tokenizer and what is read beside it.
fn tokenizer_files(path: &Path) -> Vec<PathBuf> {
    let beside = ["tokenizer_config.json", "chat_template.jinja"].map(|name| path.with_file_name(name));
    let is_file = path.is_file();
    std::iter::once(path.into()).chain(beside.into_iter().filter(|_| is_file)).collect()
}

fn found(name: &str) -> PathBuf {
    hub::find(name, None).unwrap_or_else(|_| name.into())
}

/// The base model that is given, or the one that the adapter names.
fn base_of(adapter: &str, given: Option<&str>) -> Option<BasePath> {
    if let Some(name) = given {
        return BasePath::find(name, None).ok();
    }
    let config = AdapterConfig::read(&found(adapter)).ok()?;
    BasePath::find(config.text("base_model_name_or_path")?, config.text("revision")).ok()
}

/// What clap says first, without the usage of a command that the user did not type.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).into()
}
