//! The native part of the Python package: calls of commands, and the program itself. `package/lora_slim` makes an interface of it.

mod watch;

use std::ffi::OsString;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lora_slim::{Call, CallAnswer, Error, Kind};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use watch::SharedWatcher;

/// How often Python is asked for a Ctrl-C, and told how far a call has come.
const PAUSE: Duration = Duration::from_millis(100);

/// The stack of the thread of a call: that of a program's first thread.
const STACK: usize = 8 << 20;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{call, flags, isolate, program, serve_tokenizer};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}

/// An error: its kind, its exit code, its message, and a hint.
type ErrorParts = (&'static str, u8, String, Option<String>);

/// The result of a call: JSON, unless the call failed; whether the answer is yes; and the error or the refusal.
type AnswerParts = (Option<String>, bool, Option<ErrorParts>);

/// Runs a command on a thread of its own, without Python's lock. `flags` is a JSON object; `passed` are files of samples as names and
/// bytes. `on_progress` gets `(stage, done, total, text)` about ten times a second.
#[pyfunction]
fn call(
    py: Python,
    command: &str,
    arguments: Vec<OsString>,
    flags: &str,
    passed: Vec<(String, Vec<u8>)>,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<AnswerParts> {
    let flags = serde_json::from_str(flags).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let call = match Call::new(command, &arguments, &flags) {
        Ok(call) => passed.into_iter().fold(call, |call, (name, bytes)| call.pass(name, bytes)),
        Err(error) => return Ok((None, false, Some(parts(&error)))),
    };
    let watcher = Arc::new(SharedWatcher::default());
    let (sender, receiver) = mpsc::channel();
    // Only this thread receives, but the compiler cannot see that.
    let receiver = Mutex::new(receiver);
    let run = {
        let watcher = watcher.clone();
        move || {
            let answer = call.run(&*watcher);
            watcher.end();
            // Nobody waits any more after a second Ctrl-C.
            let _ = sender.send(answer);
        }
    };
    thread::Builder::new().name("lora-slim".into()).stack_size(STACK).spawn(run)?;
    let mut stopped_by = None;
    loop {
        let received = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PAUSE);
        match py.detach(received) {
            Ok(answer) => return stopped_by.map_or_else(|| Ok(answer_parts(answer)), Err),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("lora-slim has a bug and stopped; please report it"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let told = py.check_signals().and_then(|()| match (&on_progress, watcher.latest()) {
            (Some(on_progress), Some(step)) if stopped_by.is_none() => on_progress.call1(py, step).map(drop),
            _ => Ok(()),
        });
        match told {
            Ok(()) => {}
            // The thread ends behind its layer, and its temporary files with it.
            Err(again) if stopped_by.is_some() => return Err(again),
            Err(error) => {
                watcher.stop(error.is_instance_of::<PyKeyboardInterrupt>(py));
                stopped_by = Some(error);
            }
        }
    }
}

fn answer_parts(answer: lora_slim::Result<CallAnswer>) -> AnswerParts {
    match answer {
        Ok(answer) => (Some(answer.json), answer.yes, answer.refusal.as_ref().map(parts)),
        Err(error) => (None, false, Some(parts(&error))),
    }
}

fn parts(error: &Error) -> ErrorParts {
    let kind = match error.kind() {
        Kind::Usage => "usage",
        Kind::BadInput => "bad-input",
        Kind::Io => "io",
        Kind::No => "no",
        Kind::FailedGate => "failed-gate",
        Kind::Internal => "internal",
        Kind::Interrupted => "interrupted",
    };
    (kind, error.kind().exit_code(), error.to_string(), error.hint())
}

/// The flags of a command as a JSON list, or `None` if there is no such command.
#[pyfunction]
fn flags(command: &str) -> PyResult<Option<String>> {
    let flags = Call::flags(command).map(|flags| serde_json::to_string(&flags));
    flags.transpose().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Runs the program `lora-slim` with these words, of which the first is its name, and returns its exit code.
#[pyfunction]
fn program(py: Python, words: Vec<OsString>, has_stdout: bool) -> u8 {
    py.detach(|| {
        lora_slim::kernel::machine::prepare();
        if !has_stdout {
            lora_slim::commands::output::have_no_stdout();
        }
        lora_slim::commands::program::run(words)
    })
}

/// Has tokenizers run in processes that these words start. Only the first call counts.
#[pyfunction]
fn isolate(words: Vec<OsString>) {
    lora_slim::samples::tokenizer::isolate_by(words);
}

/// Does the work of a process that runs tokenizers.
#[pyfunction]
fn serve_tokenizer(py: Python) -> bool {
    py.detach(lora_slim::samples::tokenizer::serve)
}
