//! The form of what goes to standard error, which is the same in all of the process.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;

/// Lines for people, or a JSON object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    Text,
    Json,
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

pub fn set(format: LogFormatArg) {
    IS_JSON.store(format == LogFormatArg::Json, Ordering::Relaxed);
}

pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// The form that the words of a command line ask for, or else the variable for it. An error of parsing them has a form, too.
pub fn of_words(words: &[OsString], variable: Option<&OsStr>) -> LogFormatArg {
    let mut values =
        words.iter().enumerate().filter_map(|(place, word)| match word.to_str()?.strip_prefix("--log-format")? {
            "" => words.get(place + 1)?.to_str(),
            value => value.strip_prefix('='),
        });
    let asked = values.next_back().or(variable.and_then(OsStr::to_str));
    if asked == Some("json") { LogFormatArg::Json } else { LogFormatArg::Text }
}
