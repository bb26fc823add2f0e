//! The command line: its flags, the file and the environment that may set them, the values that they become, and progress on the terminal.

pub mod answer_args;
pub mod args;
pub mod batch_args;
mod compare_args;
pub mod config_file;
pub mod environment;
mod evaluate_args;
pub mod flags;
mod gate_args;
pub mod guesses;
pub mod help;
pub mod log_format;
mod look_args;
pub mod panics;
pub mod parse;
pub mod progress;
mod push_args;
mod rule_args;
mod settable;
pub mod settings;
pub mod step_args;

pub use args::*;
