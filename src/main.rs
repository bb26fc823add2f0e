//! Parses, runs, and turns the result into an exit code. Everything else is in the library.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use lora_slim::cli::{Cli, config_file, panics};
use lora_slim::commands::{self, output};
use lora_slim::printable::OneLine;
use lora_slim::samples::tokenizer;
use lora_slim::{Kind, Result};

/// A look at standard output before the standard library puts /dev/null in the place of one that is closed (`>&-`): what is written
/// there would be lost without an error.
#[cfg(target_os = "linux")]
mod start {
    use std::sync::atomic::{AtomicBool, Ordering};

    pub static HAS_NO_STDOUT: AtomicBool = AtomicBool::new(false);

    #[used]
    // SAFETY: the loader calls the functions of this section, of this type, before anything else runs.
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: asks for the flags of a descriptor, which may be closed.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        HAS_NO_STDOUT.store(flags == -1, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq([tokenizer::COMMAND]) {
        return if tokenizer::serve() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // SAFETY: nothing has started a thread yet, so that this is the only one.
    unsafe { lora_slim::kernel::machine::prepare_alone() };
    lora_slim::tensors::install_sigbus_handler();
    #[cfg(target_os = "linux")]
    if start::HAS_NO_STDOUT.load(std::sync::atomic::Ordering::Relaxed) {
        output::have_no_stdout();
    }
    tokenizer::isolate_in_this_program();
    panics::guarded(|| {
        run().unwrap_or_else(|error| {
            output::complain(&error);
            ExitCode::from(error.kind().exit_code())
        })
    })
}

fn run() -> Result<ExitCode> {
    let line = config_file::expand(std::env::args_os().collect())?;
    let cli = Cli::try_parse_from(&line.words);
    if let Some(file) = line.file.filter(|_| !cli.as_ref().is_ok_and(|cli| cli.quiet)) {
        output::remark(&format!("using the flags of `{}`\n", OneLine(file.display())), false);
    }
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => {
            output::print_help(&error, &line.words)?;
            return Ok(u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from));
        }
    };
    tracing_subscriber::fmt()
        .with_writer(|| output::Log)
        .with_max_level(if cli.quiet { tracing::Level::ERROR } else { tracing::Level::WARN })
        .without_time()
        .with_target(false)
        .init();
    let answer = if cli.print_config { commands::print_config(&line.words)? } else { commands::run(cli)? };
    Ok(if answer { ExitCode::SUCCESS } else { ExitCode::from(Kind::No.exit_code()) })
}
