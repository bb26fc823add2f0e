//! Parse, run, and turn what happened into an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use lora_slim::cli::Cli;
use lora_slim::{Error, Kind, commands};

fn main() -> ExitCode {
    share_processors();
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(if cli.quiet { tracing::Level::ERROR } else { tracing::Level::WARN })
        .without_time()
        .with_target(false)
        .init();
    match commands::run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(Kind::Gate.exit_code()),
        Err(error) => fail(&error),
    }
}

/// Keeps candle from starting threads of its own for element-wise work. The sweep gives each processor a stream, and two
/// pools that wait for each other cost a fifth of the time.
fn share_processors() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: called first, when this is the only thread.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.kind().exit_code())
}
