//! The program, from the words of its command line to its exit code.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use super::output;
use super::output::log::{self, Amount};
use crate::cli::config_file::{self, Expanded};
use crate::cli::environment::Environment;
use crate::cli::{Cli, guesses, help, log_format, panics};
use crate::error::{Kind, Result};
use crate::format::listed;
use crate::printable::OneLine;

/// Runs the program with these words, of which the first is its own name. A process does this once, before it does anything else.
pub fn run(words: Vec<OsString>) -> u8 {
    crate::tensors::install_sigbus_handler();
    panics::guarded(|| {
        try_run(words).unwrap_or_else(|error| {
            output::complain(&error);
            error.kind().exit_code()
        })
    })
}

fn parse(words: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let mut command = help::command();
    let matches = command.try_get_matches_from_mut(words)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn try_run(words: Vec<OsString>) -> Result<u8> {
    let environment = Environment::of_process();
    let log_format = |words: &[OsString]| log_format::of_words(words, environment.value("log-format"));
    log_format::set(log_format(&words));
    let line = config_file::expand(words, &environment)?;
    log_format::set(log_format(&line.words));
    let cli = parse(&line.words);
    let amount = match &cli {
        Ok(cli) if cli.quiet => Amount::Errors,
        Ok(cli) if cli.verbose => Amount::More,
        _ => Amount::Usual,
    };
    log::start(amount);
    if cli.as_ref().err().is_none_or(clap::Error::use_stderr) {
        name_sources(&line, &environment, amount == Amount::Errors);
    }
    let cli = match cli {
        Ok(cli) => cli,
        Err(mut error) => {
            guesses::advise(&mut error, &line.words);
            output::print_help(&error, &line.words)?;
            return Ok(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let answer = if cli.print_config { super::print_config(&line.words)? } else { super::run(cli)? };
    Ok(if answer { 0 } else { Kind::No.exit_code() })
}

/// Says which flags the user did not type, and which variables set none.
fn name_sources(line: &Expanded, environment: &Environment, quiet: bool) {
    if let Some(file) = &line.file {
        output::remark(&format!("using the flags of `{}`\n", OneLine(file.display())), quiet);
    }
    if !line.variables.is_empty() {
        let variables: Vec<String> = line.variables.iter().map(|name| format!("`{name}`")).collect();
        output::remark(&format!("using {} of the environment\n", listed(&variables, "and")), quiet);
    }
    for unknown in environment.unknown(&Cli::command()) {
        tracing::warn!("{unknown}");
    }
}
