//! Makes finished LoRA adapters smaller without retraining.
//!
//! A LoRA adapter is trained on every decoder layer, but not every layer of it is needed at inference. This crate
//! finds the *boundary* from a few samples, keeps the adapter in the layers below it and drops the rest, after "Not All
//! LoRA Parameters Are Essential: Insights on Inference Necessity" (arXiv 2503.23360).
//!
//! ```text
//! adapter folder ─┐
//! samples ────────┼─▶ measurements ─▶ choice ─▶ rewriting ─▶ new adapter folder + report
//! base model ─────┘
//! ```
//!
//! [`Slim`] does all of it; `examples/slim.rs` shows how. The modules behind it are not part of the interface. They are
//! visible to this crate's own program, tests and benchmarks only:
//!
//! | module | what it holds |
//! |---|---|
//! | `cli`, `commands` | the program: flags → values → what is printed |
//! | `batch` | many adapters: jobs, stamps, results |
//! | `pipeline` | the stages put together |
//! | `search`, `choice` | which candidates to measure next, and which one to take |
//! | `report` | one value, as JSON, text and a page |
//! | `measure` | the one walk over the layers |
//! | `model`, `kernel` | the decoder, driven by data, and its products |
//! | `adapter`, `rewrite`, `export`, `audit` | PEFT folders: reading, changing, writing, judging |
//! | `samples`, `metrics` | from files to tokens, and scores of answers |
//! | `tensors`, `hub`, `account`, `files`, `format`, `printable`, `error` | what everything stands on |

#![deny(missing_docs)]
// Files are opened by `files::open`, which waits for no pipe; clippy.toml lists the rest. Only `commands::output` prints.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr))]

#[doc(hidden)]
pub mod account;
#[doc(hidden)]
pub mod adapter;
#[doc(hidden)]
pub mod audit;
#[doc(hidden)]
pub mod batch;
#[doc(hidden)]
pub mod choice;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod export;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod hub;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod measure;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod pipeline;
#[doc(hidden)]
pub mod printable;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod rewrite;
#[doc(hidden)]
pub mod samples;
#[doc(hidden)]
pub mod search;
mod slim;
#[doc(hidden)]
pub mod tensors;

/// The rules that choose a boundary.
pub mod rules {
    pub use crate::choice::rules::{BEST, CURVE, Rule, SMALLEST};
}

pub use adapter::Adapter;
#[cfg(feature = "cli")]
pub use commands::call::{Call, CallAnswer, Flag};
#[cfg(feature = "cli")]
pub use commands::watcher::Watcher;
pub use error::{Error, Kind, Result};
pub use measure::Progress;
pub use pipeline::Base;
pub use report::Report;
pub use samples::tokenizer::isolate_tokenizers;
pub use slim::{Samples, Slim, Slimmed};
