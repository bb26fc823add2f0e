//! Parses, runs, and turns the result into an exit code. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use lora_slim::cli::{Cli, config_file, panics};
use lora_slim::commands::{self, output};
use lora_slim::samples::tokenizer;
use lora_slim::{Error, Kind, Result};

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq([tokenizer::COMMAND]) {
        return if tokenizer::serve() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // SAFETY: nothing has started a thread yet, so that this is the only one.
    unsafe { lora_slim::kernel::machine::prepare_alone() };
    lora_slim::tensors::install_sigbus_handler();
    tokenizer::isolate_in_this_program();
    panics::guarded(|| run().unwrap_or_else(|error| fail(&error)))
}

fn run() -> Result<ExitCode> {
    let line = config_file::expand(std::env::args_os().collect())?;
    let cli = Cli::try_parse_from(&line.words);
    if let Some(file) = line.file.filter(|_| !cli.as_ref().is_ok_and(|cli| cli.quiet)) {
        output::remark(&format!("using the flags of `{}`\n", file.display()), false);
    }
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return help(&error),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(if cli.quiet { tracing::Level::ERROR } else { tracing::Level::WARN })
        .without_time()
        .with_target(false)
        // Without a place to say something, there is none to say that, either.
        .log_internal_errors(false)
        .init();
    let answer = if cli.print_config { commands::print_config(&line.words)? } else { commands::run(cli)? };
    Ok(if answer { ExitCode::SUCCESS } else { ExitCode::from(Kind::No.exit_code()) })
}

/// Prints what clap has instead of a command: an error on stderr, or the help or version that the user asked for.
fn help(error: &clap::Error) -> Result<ExitCode> {
    let printed = error.print();
    if !error.use_stderr() {
        output::written(printed)?;
    }
    Ok(u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Makes a message safe to print. It may quote a file, which may hold megabytes, line breaks or terminal commands.
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
    // Standard error may be full or closed; the exit code still tells.
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "error: {}", one_line(&error.to_string()));
    if let Some(hint) = error.hint() {
        let _ = writeln!(out, "hint: {hint}");
    }
    ExitCode::from(error.kind().exit_code())
}
