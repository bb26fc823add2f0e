//! Parses, runs, and turns the result into an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use lora_slim::cli::{Cli, config_file};
use lora_slim::commands::{self, output};
use lora_slim::{Error, Kind, Result};

fn main() -> ExitCode {
    limit_candle_threads();
    keep_freed_memory();
    lora_slim::tensors::end_with_a_word();
    match run() {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn run() -> Result<ExitCode> {
    let line = config_file::expand(std::env::args_os().collect())?;
    let cli = Cli::try_parse_from(&line.words);
    if let Some(file) = line.file.filter(|_| !cli.as_ref().is_ok_and(|cli| cli.quiet)) {
        eprintln!("using the flags of `{}`", file.display());
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

/// Keeps candle from using threads of its own for element-wise work: the sweep already gives each processor a stream, and two
/// thread pools that wait for each other cost a fifth of the time. Also keeps candle from reading /proc/cpuinfo before every
/// product to count the processors; rayon takes the same number by default.
fn limit_candle_threads() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    for (variable, value) in [("CANDLE_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", &processors)] {
        if std::env::var_os(variable).is_none() {
            // SAFETY: `main` calls this first, while there is only one thread.
            unsafe { std::env::set_var(variable, value) };
        }
    }
}

/// Keeps the memory of freed tensors for the next ones. By default glibc returns every large block to the system at once, and a
/// fifth of the time goes into clearing new pages.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const THRESHOLD: i32 = 1 << 30;
        const PADDING: i32 = 64 << 20;
        // SAFETY: `mallopt` runs while there is only one thread.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
            libc::mallopt(libc::M_TOP_PAD, PADDING);
        }
    }
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
    eprintln!("error: {}", one_line(&error.to_string()));
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.kind().exit_code())
}
