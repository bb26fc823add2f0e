//! One file per command: settings → pipeline → what is printed.

mod batch;
mod check;
mod cut;
mod docs;
mod evaluate;
mod fix;
mod inspect;
pub mod output;
mod page;
mod scan;
mod slim;
mod verify;

use std::ffi::OsString;

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
        Command::Fix(args) => fix::run(args, quiet),
        Command::Batch(args) => batch::run(args, quiet),
        Command::Inspect(args) => inspect::run(args),
        Command::Check(args) => check::run(args),
        Command::Verify(args) => verify::run(args, quiet),
        Command::Completions(args) => docs::completions(args),
        Command::Man => docs::man(),
        Command::Schema => docs::schema(),
    }
}

/// Prints the flags of a command line as a config file.
pub fn print_config(words: &[OsString]) -> Result<bool> {
    output::print(&config_file::of_command_line(words)?).map(|()| true)
}
