//! One file per command: settings → pipeline → what is printed.

mod batch;
pub mod call;
mod check;
mod compare;
mod cut;
mod docs;
pub mod document;
mod evaluate;
mod fetch;
mod fix;
mod inspect;
pub mod output;
mod page;
mod plan;
pub mod program;
mod push;
mod scan;
mod schemas;
mod slim;
mod verify;
pub mod watcher;

use std::ffi::OsString;

use crate::cli::config_file;
use crate::cli::{Cli, Command};
use crate::error::Result;
use fetch::Finder;

/// Runs a command. `Ok(false)` is an answer of "no", which has its own exit code.
pub fn run(cli: Cli) -> Result<bool> {
    let (quiet, finder) = (cli.quiet, Finder::of(&cli));
    match cli.command {
        Command::Slim(args) => slim::run(args, finder, quiet),
        Command::Scan(args) => scan::run(args, finder, quiet),
        Command::Cut(args) => cut::run(args, finder, quiet),
        Command::Fix(args) => fix::run(args, finder, quiet),
        Command::Batch(args) => batch::run(args, finder, quiet),
        Command::Inspect(args) => inspect::run(args, finder),
        Command::Check(args) => check::run(args, finder),
        Command::Plan(args) => plan::run(args, finder),
        Command::Compare(args) => compare::run(args, quiet),
        Command::Verify(args) => verify::run(args, finder, quiet),
        Command::Push(args) => push::run(args, finder, quiet),
        Command::Completions(args) => docs::completions(args),
        Command::Man => docs::man(),
        Command::Schema(args) => docs::schema(args),
    }
}

/// Prints the flags of a command line as a config file.
pub fn print_config(words: &[OsString]) -> Result<bool> {
    output::print(&config_file::of_command_line(words)?).map(|()| true)
}
