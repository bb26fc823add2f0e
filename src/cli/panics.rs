//! A panic is a bug in this program, wherever it happens: one sentence, and an exit code of its own.

use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Kind;
use crate::printable;

/// Whether a panic was told of. One bug can have several threads panic.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Runs the program, and gives the exit code of a bug if any of its threads panics.
pub fn guarded<C: From<u8>>(run: impl FnOnce() -> C) -> C {
    std::panic::set_hook(Box::new(tell));
    let code = catch_unwind(AssertUnwindSafe(run));
    match code {
        Ok(code) if !TOLD.load(Ordering::SeqCst) => code,
        _ => C::from(Kind::Internal.exit_code()),
    }
}

/// Says what happened. Standard error may be full or closed: a second panic would abort the process.
fn tell(panic: &PanicHookInfo) {
    if TOLD.swap(true, Ordering::SeqCst) {
        return;
    }
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    let text = printable::message(text.unwrap_or("no message"));
    let place = panic.location().map_or(String::new(), |place| format!(" ({}:{})", place.file(), place.line()));
    let _ = writeln!(
        std::io::stderr(),
        "error: lora-slim has a bug and stopped: {text}{place}\nhint: please report it with the command that you ran"
    );
}
