//! The commands of the program, called from another program: flags by their names, and the result as a value.
//!
//! A call takes its flags as a line of a manifest has them, so that one parser checks them all, and gives what the command prints with
//! `--json`. What it computes and writes is the command's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::CommandFactory;
use clap::Parser;
use serde::Serialize;
use serde_json::{Map, Value};

use super::document::Document;
use super::fetch::Finder;
use super::page::Page;
use super::slim::ReservedSlim;
use super::watcher::Watcher;
use super::{check, cut, evaluate, fix, inspect, scan as scanning, verify};
use crate::batch::options;
use crate::choice::gates;
use crate::cli::{Cli, Command, EvaluateArgs, ScanArgs, SlimArgs, parse};
use crate::error::{ConfigError, Error, FileError, Result};
use crate::files::{inputs, json};
use crate::measure::Progress;
use crate::pipeline;

/// A command with its flags, ready to run.
pub struct Call {
    cli: Cli,
}

/// What came of a call.
pub struct CallAnswer {
    /// What the command prints with `--json`: docs/report.md describes reports.
    pub json: String,
    /// Whether the command's answer is yes: the adapters are equal, the adapter is complete and loads.
    pub yes: bool,
    /// Why a command that evaluates wrote nothing: a gate failed, or the adapter does not help.
    pub refusal: Option<Error>,
}

/// A flag of a command.
#[derive(Debug, Serialize)]
pub struct Flag {
    pub name: String,
    pub help: String,
    /// Whether it takes a value: `never`, `may` or `must`.
    pub value: &'static str,
    /// Whether it takes several.
    pub several: bool,
    /// The values that there are, if there is a list of them.
    pub values: Vec<String>,
    pub default: Option<String>,
}

/// The commands that can be called, and the flags that make no sense in a call.
const CALLABLE: [&str; 7] = ["slim", "scan", "cut", "fix", "inspect", "check", "verify"];
const NOT_IN_A_CALL: [&str; 10] =
    ["help", "version", "config", "no-config", "print-config", "quiet", "verbose", "log-format", "json", "list"];

impl Call {
    /// The flags of a command that can be called.
    pub fn flags(command: &str) -> Option<Vec<Flag>> {
        let mut cli = Cli::command();
        cli.build();
        let command = cli.find_subcommand(command).filter(|_| CALLABLE.contains(&command))?;
        let offered = command.get_arguments().filter(|arg| !arg.is_hide_set());
        Some(offered.filter_map(Flag::of).filter(|flag| !NOT_IN_A_CALL.contains(&flag.name.as_str())).collect())
    }

    /// Parses a call: `{"chat": true, "margin": "2%"}` are the flags `--chat --margin=2%`, and a list is a flag with several values.
    ///
    /// # Errors
    /// A command that cannot be called, and whatever the command line would refuse.
    pub fn new(command: &str, arguments: &[OsString], flags: &Map<String, Value>) -> Result<Self> {
        let wrong = |reason: String| ConfigError::Call { command: command.into(), reason };
        let known = Self::flags(command).ok_or_else(|| wrong("there is no such command".into()))?;
        if let Some(name) = flags.keys().find(|name| !known.iter().any(|flag| flag.name == **name)) {
            let nearest = parse::nearest(name, known.iter().map(|flag| flag.name.as_str()));
            return Err(ConfigError::UnknownFlag { command: command.into(), name: name.clone(), nearest }.into());
        }
        let mut words: Vec<OsString> = vec!["lora-slim".into(), command.into()];
        words.extend(options::to_words(flags).map_err(wrong)?);
        words.push("--".into());
        words.extend(arguments.iter().cloned());
        let cli = Cli::try_parse_from(words).map_err(|error| wrong(parse::first_line(&error)))?;
        Ok(Self { cli })
    }

    /// Passes bytes to be read where the flags name `path` as a file of samples. Reports and errors name it as the path.
    pub fn pass(mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) -> Self {
        if let Some(args) = self.evaluated() {
            args.passed.insert(path.into(), bytes.into());
        }
        self
    }

    fn evaluated(&mut self) -> Option<&mut EvaluateArgs> {
        match &mut self.cli.command {
            Command::Slim(args) => Some(&mut args.evaluate),
            Command::Scan(args) => Some(&mut args.evaluate),
            _ => None,
        }
    }

    /// Runs the command. A call that runs alone in its process may write what earlier ones have read.
    ///
    /// # Errors
    /// As the command. A refusal that comes with a report is none.
    pub fn run(self, watcher: &dyn Watcher) -> Result<CallAnswer> {
        let _running = Running::begin();
        let finder = Finder::called(&self.cli, watcher);
        match self.cli.command {
            Command::Slim(args) => slim(args, finder, watcher),
            Command::Scan(args) => scan(args, finder, watcher),
            Command::Cut(args) => {
                let report = cut::write(args, finder)?;
                CallAnswer::refused(&report, gates::check(&report.gates).err())
            }
            Command::Fix(args) => CallAnswer::yes(&Document::of(&fix::write(args, finder)?)),
            Command::Inspect(args) => CallAnswer::yes(&Document::of(&inspect::inspection(&args, finder)?)),
            Command::Check(args) => {
                let checked = check::check(&args, args.adapter.as_deref().unwrap_or_default(), finder)?;
                CallAnswer::of(&Document::of(&checked), checked.passes)
            }
            Command::Verify(args) => {
                let verification = verify::verify(args, finder)?;
                CallAnswer::of(&Document::of(&verification), verification.verified)
            }
            _ => Err(ConfigError::Call { command: String::new(), reason: "there is no such command".into() }.into()),
        }
    }
}

fn slim(args: SlimArgs, finder: Finder, watcher: &dyn Watcher) -> Result<CallAnswer> {
    let slim = ReservedSlim::new(args, finder)?;
    let evaluation = pipeline::evaluate(&slim.plan.request, &mut told(watcher))?;
    let slimmed = slim.write(&evaluation, true)?;
    CallAnswer::refused(&slimmed.report, slimmed.verdict.err())
}

fn scan(args: ScanArgs, finder: Finder, watcher: &dyn Watcher) -> Result<CallAnswer> {
    let page = Page::reserve(&args.evaluate, finder, None, args.force)?;
    let adapter = evaluate::declare_inputs(&args.evaluate, finder)?;
    evaluate::fetch_base(&args.evaluate, &adapter, finder)?;
    let request = scanning::request(args)?;
    let evaluation = pipeline::evaluate(&request, &mut told(watcher))?;
    page.write(&evaluation, true)?;
    CallAnswer::refused(&evaluation.report, gates::check(&evaluation.report.gates).err())
}

fn told(watcher: &dyn Watcher) -> impl FnMut(Progress) -> bool {
    |progress| {
        watcher.measures(progress);
        !watcher.is_stopped()
    }
}

impl CallAnswer {
    fn of(value: &impl Serialize, yes: bool) -> Result<Self> {
        let json = json::to_indented(value).map_err(|error| FileError::Stdout { source: error.into() })?;
        Ok(Self { json, yes, refusal: None })
    }

    fn yes(value: &impl Serialize) -> Result<Self> {
        Self::of(value, true)
    }

    fn refused(value: &impl Serialize, refusal: Option<Error>) -> Result<Self> {
        Ok(Self { refusal, ..Self::yes(value)? })
    }
}

/// How many calls are under way.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A call under way.
struct Running;

impl Running {
    /// A process lives on after a call, and what one call has read, a later one may replace, as it may in another process.
    fn begin() -> Self {
        if RUNNING.fetch_add(1, Ordering::SeqCst) == 0 {
            inputs::forget();
        }
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Flag {
    /// `None` for what has no name.
    fn of(arg: &clap::Arg) -> Option<Self> {
        let count = arg.get_num_args().unwrap_or_default();
        let values = arg.get_possible_values();
        let takes_value = arg.get_action().takes_values();
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        Some(Self {
            name: arg.get_long()?.into(),
            help: arg
                .get_long_help()
                .or(arg.get_help())
                .map(|help| one_paragraph(&help.to_string()))
                .unwrap_or_default(),
            value: match (takes_value, count.min_values()) {
                (false, _) => "never",
                (true, 0) => "may",
                (true, _) => "must",
            },
            several: takes_value
                && (count.max_values() > 1
                    || arg.get_value_delimiter().is_some()
                    || matches!(arg.get_action(), clap::ArgAction::Append)),
            values: if takes_value { values.iter().map(|value| value.get_name().into()).collect() } else { Vec::new() },
            default: (!defaults.is_empty() && takes_value).then(|| defaults.join(",")),
        })
    }
}

/// A help text whose first paragraph, a sentence without a full stop, is that of the short help.
fn one_paragraph(help: &str) -> String {
    help.replace("\n\n", ". ")
}
