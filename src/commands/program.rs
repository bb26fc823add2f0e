//! The program, from the words of its command line to its exit code.

use std::ffi::OsString;

use clap::Parser;

use super::output;
use crate::cli::{Cli, config_file, guesses, panics};
use crate::error::{Kind, Result};
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

fn try_run(words: Vec<OsString>) -> Result<u8> {
    let line = config_file::expand(words)?;
    let cli = Cli::try_parse_from(&line.words);
    if let Some(file) = line.file.filter(|_| !cli.as_ref().is_ok_and(|cli| cli.quiet)) {
        output::remark(&format!("using the flags of `{}`\n", OneLine(file.display())), false);
    }
    let cli = match cli {
        Ok(cli) => cli,
        Err(mut error) => {
            guesses::advise(&mut error, &line.words);
            output::print_help(&error, &line.words)?;
            return Ok(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    tracing_subscriber::fmt()
        .with_writer(|| output::Log)
        .with_max_level(if cli.quiet { tracing::Level::ERROR } else { tracing::Level::WARN })
        .without_time()
        .with_target(false)
        .init();
    let answer = if cli.print_config { super::print_config(&line.words)? } else { super::run(cli)? };
    Ok(if answer { 0 } else { Kind::No.exit_code() })
}
