//! A job with its flags: the same words, through the same parser, as one would type for `slim` or `cut`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use serde_json::Value;

use crate::batch::jobs::Job;
use crate::batch::options;
use crate::batch::proof::{self, Depth};
use crate::batch::stamp::{self, Hashes};
use crate::cli::{BatchArgs, Cli, Command, CutArgs, MinimizeArg, SlimArgs, flags, parse};
use crate::commands::fetch::Finder;
use crate::error::{BatchError, Error, Result};
use crate::export::Format;
use crate::files::{self, inputs};
use crate::hub::{self, BasePath};
use crate::pipeline;
use crate::report::batch::{Record, Status};
use crate::samples::places;

/// What is done with a job's adapter.
pub enum TaskFlags {
    Slim(Box<SlimArgs>),
    Cut(Box<CutArgs>),
}

/// A job to do.
pub struct Task<'a> {
    pub job: &'a Job,
    /// The flags of the batch and of the job, which win.
    pub words: Vec<OsString>,
    pub output: PathBuf,
    /// Whether the output may be replaced.
    pub force: bool,
    /// The files and folders that the output is made from.
    inputs: Vec<PathBuf>,
}

impl<'a> Task<'a> {
    /// Parses the flags of a job, and finds its inputs.
    pub fn read(job: &'a Job, args: &BatchArgs, finder: Finder) -> Result<(Self, TaskFlags)> {
        let wrong = |reason: String| BatchError::Options { name: job.name.clone(), reason };
        let has_samples = args.flags.words.iter().any(|word| word.as_encoded_bytes().starts_with(b"--samples="));
        let name = if has_samples || job.options.contains_key("samples") { "slim" } else { "cut" };
        let mut cli = Cli::command();
        cli.build();
        let words = match cli.find_subcommand(name) {
            Some(command) => flags::overridden(command, &args.flags.words, &job.options).map_err(wrong)?,
            None => Vec::new(),
        };
        let output = args.output.join(&job.name);
        // lora-slim may replace what it wrote itself.
        let force = args.force || files::has_own_report(&output);
        let mut line: Vec<OsString> = vec!["lora-slim".into(), name.into()];
        line.extend(words.iter().cloned());
        line.extend(["--output".into(), output.clone().into()]);
        line.extend(force.then(|| "--force".into()));
        line.extend(["--".into(), OsString::from(&job.adapter)]);
        let parsed = cli.try_get_matches_from(line).and_then(|matches| Cli::from_arg_matches(&matches));
        let flags = match parsed.map(|cli| cli.command) {
            Ok(Command::Slim(args)) => TaskFlags::Slim(Box::new(args)),
            Ok(Command::Cut(args)) => TaskFlags::Cut(Box::new(args)),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                return Err(BatchError::NothingToDo.into());
            }
            Err(error) => return Err(wrong(parse::first_line(&error)).into()),
            Ok(_) => return Err(wrong(format!("they are not flags of `{name}`")).into()),
        };
        if args.common && !flags.minimizes_bytes() {
            return Err(wrong("`--common` looks for the fewest bytes: `--minimize bytes`".into()).into());
        }
        flags.fetch(finder)?;
        let inputs = flags.inputs();
        Ok((Self { job, words, output, force, inputs }, flags))
    }

    /// Its stamp: if that changes, the task is done again.
    pub fn stamp(&self, hashes: &Hashes) -> String {
        hashes.stamp(&self.words, &self.inputs)
    }

    /// A record with the hashes of what was written: the output of a job that is done, and the page.
    pub fn proved(&self, record: Record) -> Record {
        let output =
            if record.status == Status::Done { proof::names(&self.output).unwrap_or_default() } else { Vec::new() };
        let own = self.output.file_name().unwrap_or_default().to_string_lossy();
        let files: Vec<String> = output.into_iter().map(|name| format!("{own}/{name}")).collect();
        let page = record.page.iter().map(|_| format!("{own}.html"));
        let files: Vec<String> = files.into_iter().chain(page).collect();
        if files.is_empty() {
            return record;
        }
        let hash = |depth| proof::hash(self.folder(), &files, depth);
        Record { written: hash(Depth::Samples), content: hash(Depth::AllBytes), files, ..record }
    }

    /// Whether what a record says was written is there, and nothing has changed it since.
    pub fn is_written(&self, record: &Record, depth: Depth) -> bool {
        let expected = match depth {
            Depth::Samples => &record.written,
            Depth::AllBytes => &record.content,
        };
        match expected {
            Some(_) => proof::hash(self.folder(), &record.files, depth) == *expected,
            None => record.status != Status::Done && record.page.is_none(),
        }
    }

    /// The folder that holds the output's folder and the page.
    fn folder(&self) -> &Path {
        self.output.parent().unwrap_or(Path::new(""))
    }

    /// The record of a failure.
    pub fn failed(&self, error: &Error, stamp: String) -> Record {
        Record::failed(&self.job.name, &self.job.adapter, error, stamp)
    }

    /// The page beside the output's folder.
    pub fn page(&self) -> PathBuf {
        let mut path = self.output.as_os_str().to_owned();
        path.push(".html");
        path.into()
    }
}

impl TaskFlags {
    fn minimizes_bytes(&self) -> bool {
        matches!(self, Self::Slim(args) if matches!(args.evaluate.minimize, Some(MinimizeArg::Bytes)))
    }

    /// Sees to it that the adapter and the base model are there. What is missing is found missing when it is opened.
    fn fetch(&self, finder: Finder) -> Result<()> {
        match self {
            Self::Slim(args) => match finder.fetch_adapter(&args.evaluate.adapter)? {
                Some(adapter) => finder.base(args.evaluate.base.as_deref(), &adapter),
                None => Ok(()),
            },
            Self::Cut(args) => match finder.fetch_adapter(&args.adapter)? {
                Some(adapter) => finder.base_of_cut(args, &adapter),
                None => Ok(()),
            },
        }
    }

    /// The inputs that exist.
    fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Self::Slim(args) => {
                let args = &args.evaluate;
                let mut inputs = vec![path_of(&args.adapter)];
                let split = args.split.as_deref();
                inputs.extend(args.samples.iter().flat_map(|path| places::inputs(path, split)));
                let base = pipeline::base_of(&path_of(&args.adapter), args.base.as_deref());
                inputs.extend(base.map(|base| base.path().into()));
                inputs.extend(args.test.iter().flat_map(|path| places::inputs(path, None)));
                inputs.extend(args.tokenizer.iter().flat_map(|path| tokenizer_files(path)));
                inputs.extend(args.chat_template.clone());
                inputs
            }
            Self::Cut(args) => {
                // Of the base model only the configuration is read, which GGUF keeps in the same file.
                let base = match pipeline::base_of(&path_of(&args.adapter), args.base.as_deref()) {
                    Some(BasePath::Folder(folder)) => Some(folder.join("config.json")),
                    Some(BasePath::Gguf(file)) => Some(file).filter(|_| args.runtime.format != Format::Peft),
                    None => None,
                };
                std::iter::once(path_of(&args.adapter)).chain(base).collect()
            }
        }
    }
}

/// What is read beside a tokenizer.json.
const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
];

/// A tokenizer and the files that are read beside it.
fn tokenizer_files(path: &Path) -> Vec<PathBuf> {
    if !path.is_file() {
        // Of a folder, all its files count, but not those of its folders.
        return vec![path.into(), path.join("additional_chat_templates")];
    }
    std::iter::once(path.into()).chain(TOKENIZER_FILES.map(|name| path.with_file_name(name))).collect()
}

fn path_of(name: &str) -> PathBuf {
    hub::find(name, None).unwrap_or_else(|_| name.into())
}

/// Puts what a job reads on the list of inputs. No output of any job may be in one.
pub fn declare_inputs(job: &Job, args: &BatchArgs) {
    let adapter = path_of(&job.adapter);
    inputs::declare(&adapter);
    pipeline::base_of(&adapter, job.options.get("base").and_then(Value::as_str));
    let of_job = options::to_words(&job.options).unwrap_or_default();
    for word in args.flags.words.iter().chain(&of_job) {
        let path = stamp::INPUTS.iter().find_map(|flag| word.to_str()?.strip_prefix(flag));
        path.into_iter().for_each(|path| inputs::declare(&path_of(path)));
    }
}
