//! The log on standard error: lines for people, or JSON objects, one a line, for programs that collect logs.
//!
//! Each object has `time` (seconds since 1970), `level` and `message`. Warnings of reports have `code`; errors have `kind`,
//! `exit_code` and, where there is one, `hint`; progress has `activity`, `done` and `total`.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::log_format::is_json;
use crate::cli::progress::TARGET as PROGRESS;
use crate::printable;

use super::screen::Screen;

/// How much the flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Errors,
    Usual,
    More,
}

/// Begins to log what the flags ask for, or else `RUST_LOG`.
pub fn start(amount: Amount) {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| amount == Amount::Usual && !wanted.trim().is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>).transpose();
    let (own, others) = match amount {
        Amount::Errors => (LevelFilter::ERROR, LevelFilter::ERROR),
        Amount::Usual => (LevelFilter::WARN, LevelFilter::WARN),
        Amount::More => (LevelFilter::DEBUG, LevelFilter::WARN),
    };
    let is_wrong = parsed.is_err();
    let usual = || Targets::new().with_default(others).with_target("lora_slim", own);
    let targets = parsed.ok().flatten().unwrap_or_else(usual);
    // Bars show people the progress.
    let of_progress = if is_json() && amount != Amount::Errors { LevelFilter::INFO } else { LevelFilter::OFF };
    let targets = targets.with_target(PROGRESS, of_progress);
    let _ = tracing_subscriber::registry().with(Log.with_filter(targets)).try_init();
    if is_wrong {
        tracing::warn!("`RUST_LOG` is not a list of levels such as `debug` or `lora_slim=debug`: it is ignored");
    }
}

/// Writes events to standard error.
struct Log;

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event, _context: Context<S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        write(*event.metadata().level(), &fields.message, fields.others);
    }
}

/// Writes a line of the log, whatever becomes of it there.
pub fn write(level: Level, message: &str, fields: Map<String, Value>) {
    if is_json() {
        super::remark_raw(&(object(level, message, fields) + "\n"));
    } else {
        let line = format!("{level:>5} {}\n", printable::message(message));
        super::remark_raw(&Screen::of_stderr().show(&line));
    }
}

fn object(level: Level, message: &str, fields: Map<String, Value>) -> String {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let mut object = Map::new();
    object.insert("time".into(), ((time * 1e3).round() / 1e3).into());
    object.insert("level".into(), level.as_str().to_lowercase().into());
    object.insert("message".into(), message.into());
    object.extend(fields);
    Value::Object(object).to_string()
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => {
                self.others.insert(name.into(), text.into());
            }
        }
    }
}
