//! The process of the program: what it asks of the system before it has threads. Everything else is in the library.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use lora_slim::commands::program;
use lora_slim::samples::tokenizer;

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
    #[cfg(target_os = "linux")]
    if start::HAS_NO_STDOUT.load(std::sync::atomic::Ordering::Relaxed) {
        lora_slim::commands::output::have_no_stdout();
    }
    tokenizer::isolate_in_this_program();
    ExitCode::from(program::run(std::env::args_os().collect()))
}
