//! One file per command: from its flags to what it prints.

mod batch;
mod check;
mod cut;
mod evaluate;
mod inspect;
mod page;
mod scan;
mod shell;
mod slim;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};

use crate::cli::config_file;
use crate::cli::{Cli, Command};
use crate::error::Result;

/// Runs a command. `Ok(false)` is an answer of "no", which has its own exit code.
pub fn run(cli: Cli) -> Result<bool> {
    let quiet = cli.quiet;
    match cli.command {
        Command::Slim(args) => slim::run(args, quiet),
        Command::Scan(args) => scan::run(args, quiet),
        Command::Cut(args) => cut::run(args, quiet),
        Command::Batch(args) => batch::run(args, quiet),
        Command::Inspect(args) => inspect::run(args),
        Command::Check(args) => check::run(args),
        Command::Verify(args) => verify::run(args, quiet),
        Command::Completions(args) => shell::completions(args),
        Command::Man => shell::man(),
        Command::Schema => shell::schema(),
    }
}

/// Prints the flags of a command line as a config file.
pub fn print_config(words: &[OsString]) -> Result<bool> {
    print(&config_file::of_command_line(words)?);
    Ok(true)
}

/// Writes to stdout. A reader that went away (`| head`) is not an error.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One JSON object on a line of stdout.
fn print_line(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => tracing::error!("cannot write JSON: {error}"),
    }
}

/// Talk goes to stderr, beside what a program may read on stdout.
fn tell(text: &str, quiet: bool) {
    if !quiet {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// What is there to read where nobody asked for JSON, and talk where somebody did.
fn say(text: &str, json: bool, quiet: bool) {
    match json {
        true => tell(text, quiet),
        false if !quiet => print(text),
        false => {}
    }
}

/// One JSON object on stdout.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => tracing::error!("cannot write JSON: {error}"),
    }
}
