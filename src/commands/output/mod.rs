//! Where the program writes: data to standard output, remarks and errors to standard error. Nothing else in it writes to either.
//!
//! A reader of standard output that went away (`| head`) is not an error; everything else that keeps data from being written is.
//! Remarks are lost in silence, because there is nowhere left to complain. Whatever text came from a file is shown by
//! [`printable`]: a terminal obeys nothing of it.

mod chart;
mod fit;
pub mod log;
mod paint;
mod screen;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;

use crate::cli::log_format::is_json;
use crate::cli::{parse, progress};
use crate::error::{Error, FileError, Kind, Result};
use crate::files::json;
use crate::printable;
use crate::report::Report;
use screen::Screen;

/// Whether there is no standard output.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Makes all printing fail: the program was started without a standard output.
pub fn have_no_stdout() {
    IS_CLOSED.store(true, Ordering::Relaxed);
}

/// Writes lines to standard output.
pub fn print(text: &str) -> Result<()> {
    print_program(&Screen::of_stdout().show(&printable::lines(text)))
}

/// Writes a JSON object to standard output, indented.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print_program(&(written_as_json(json::to_indented(value))? + "\n"))
}

/// Writes a JSON object to standard output, on one line.
pub fn print_json_line(value: &impl Serialize) -> Result<()> {
    print_program(&(written_as_json(json::to_line(value))? + "\n"))
}

/// Writes a text to standard output that is the program's own, as it is.
pub fn print_program(text: &str) -> Result<()> {
    check_open()?;
    let mut out = io::stdout().lock();
    let mut rest = text.as_bytes();
    let printed = patient(|| {
        while !rest.is_empty() {
            match out.write(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => rest = &rest[count..],
            }
        }
        out.flush()
    });
    written(printed)
}

fn check_open() -> Result<()> {
    match IS_CLOSED.load(Ordering::Relaxed) {
        true => Err(FileError::Stdout { source: io::Error::other("it is closed") }.into()),
        false => Ok(()),
    }
}

/// Writes again where a pipe takes no more at the moment. Programs that read pipes without waiting, such as Node, make the writing end
/// so that it does not wait either.
fn patient(mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(1);
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Writes lines to standard error, beside what a program may read on standard output.
pub fn remark(text: &str, quiet: bool) {
    match (quiet, is_json()) {
        (true, _) => {}
        (false, true) => text.lines().for_each(|line| log::write(Level::INFO, line, Map::new())),
        (false, false) => remark_raw(&Screen::of_stderr().show(&printable::lines(text))),
    }
}

fn remark_raw(text: &str) {
    let _ = progress::beside_bar(|| io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes an error and its hint to standard error, a line each.
pub fn complain(error: &Error) {
    complain_of(&error.to_string(), error.hint(), error.kind());
}

fn complain_of(message: &str, hint: Option<String>, kind: Kind) {
    if is_json() {
        let mut fields = Map::new();
        fields.insert("kind".into(), kind.name().into());
        fields.insert("exit_code".into(), kind.exit_code().into());
        fields.extend(hint.map(|hint| ("hint".to_string(), Value::from(hint))));
        return log::write(Level::ERROR, message, fields);
    }
    let hint = hint.map_or(String::new(), |hint| format!("hint: {}\n", printable::message(&hint)));
    remark(&format!("error: {}\n{hint}", printable::message(message)), false);
}

/// Prints what clap has instead of a command for these words: an error on standard error, or the help or version that the user asked
/// for.
pub fn print_help(help: &clap::Error, words: &[OsString]) -> Result<()> {
    if help.use_stderr() && is_json() {
        complain_of(&parse::first_line(help), parse::tip(help), Kind::Usage);
        return Ok(());
    }
    // clap quotes words, which may come from a config file, and colours its text on a terminal: not with such words in it.
    let is_plain = |word: &OsString| word.to_string_lossy().chars().all(printable::is_printable);
    if help.use_stderr() && !words.iter().all(is_plain) {
        let breaks = |text: &&str| text.contains('\n');
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let values = words.iter().flat_map(|word| [&**word, word.split_once('=').map_or("", |(_, value)| value)]);
        let show = |text: String, value: &str| text.replace(value, &printable::message(value));
        remark(&values.filter(breaks).fold(help.render().to_string(), show), false);
        return Ok(());
    }
    if !help.use_stderr() {
        check_open()?;
    }
    let printed = help.print();
    if help.use_stderr() { Ok(()) } else { written(printed.and_then(|()| io::stdout().flush())) }
}

/// Prints the warnings of a report, one a line: last of all, so that nothing scrolls them away.
pub fn warn(report: &Report) {
    for warning in &report.warnings {
        tracing::warn!(code = warning.code.as_str(), "{warning}");
    }
}

/// Writes to standard output or, if that is for JSON, to standard error.
pub fn announce(text: &str, json: bool, quiet: bool) -> Result<()> {
    match json {
        true => remark(text, quiet),
        false if !quiet => print(text)?,
        false => {}
    }
    Ok(())
}

/// The error of writing to standard output, unless its reader went away.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(FileError::Stdout { source }.into()),
        _ => Ok(()),
    }
}

fn written_as_json(text: serde_json::Result<String>) -> std::result::Result<String, FileError> {
    text.map_err(|error| FileError::Stdout { source: error.into() })
}
