//! Makes finished LoRA adapters smaller without retraining.
//!
//! A LoRA adapter is trained on every decoder layer, but not every layer of it is needed at inference. This crate
//! finds the *boundary* from a few samples, keeps the adapter in the layers below it and drops the rest, after "Not All
//! LoRA Parameters Are Essential: Insights on Inference Necessity" (arXiv 2503.23360).
//!
//! ```text
//! adapter folder ─┐
//! samples ────────┼─▶ sweep ─▶ curve ─▶ choice ─▶ cut ─▶ new adapter folder + report
//! base model ─────┘
//! ```
//!
//! - [`adapter`] opens, cuts and compares PEFT folders;
//! - [`base`] and [`model`] find and run the base model, layer by layer;
//! - [`samples`] turns what people have into tokens;
//! - [`sweep`] evaluates all boundaries in one walk through the layers;
//! - [`generate`] answers greedily, [`metrics`] scores the answers;
//! - [`runtimes`] knows what servers make of an adapter;
//! - [`batch`] keeps track of many adapters;
//! - [`choice`] picks one, [`report`] says why;
//! - [`pipeline`] is the only module that knows all of them.

pub mod adapter;
pub mod audit;
pub mod batch;
pub mod choice;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod commands;
pub mod error;
pub mod export;
pub mod files;
pub mod format;
pub mod hub;
pub mod kernel;
pub mod measure;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod report;
pub mod rewrite;
pub mod samples;
pub mod search;
pub mod tensors;

pub use error::{Error, Kind, Result};
