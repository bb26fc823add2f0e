//! Parse, run, and turn what happened into an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use lora_slim::cli::Cli;
use lora_slim::cli::config_file;
use lora_slim::{Error, Kind, commands};

fn main() -> ExitCode {
    // SAFETY: the first line of the program, so that this is the only thread.
    unsafe { lora_slim::kernel::machine::prepare_alone() };
    lora_slim::tensors::install_sigbus_handler();
    let line = match config_file::expand(std::env::args_os().collect()) {
        Ok(line) => line,
        Err(error) => return fail(&error),
    };
    let cli = Cli::try_parse_from(&line.words);
    if let Some(file) = line.file.filter(|_| !cli.as_ref().is_ok_and(|cli| cli.quiet)) {
        eprintln!("flags of `{}` are used", file.display());
    }
    let cli = cli.unwrap_or_else(|error| error.exit());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(if cli.quiet { tracing::Level::ERROR } else { tracing::Level::WARN })
        .without_time()
        .with_target(false)
        .init();
    let done = if cli.print_config { commands::print_config(&line.words) } else { commands::run(cli) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(Kind::No.exit_code()),
        Err(error) => fail(&error),
    }
}

/// A message may quote a file, which may hold anything: megabytes, line breaks, or what a terminal takes for commands.
fn one_line(message: &str) -> String {
    const LONGEST: usize = 1000;
    const END: usize = 200;
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    if message.len() <= LONGEST {
        return message.chars().map(visible).collect();
    }
    let end = (message.len() - END..).find(|&at| message.is_char_boundary(at)).unwrap_or(message.len());
    message.chars().take(LONGEST - END).chain(['…']).chain(message[end..].chars()).map(visible).collect()
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("error: {}", one_line(&error.to_string()));
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.kind().exit_code())
}
