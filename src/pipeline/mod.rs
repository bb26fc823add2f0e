//! The stages put together: the only module that knows all of them.

mod alternatives;
mod base;
mod choosing;
mod describe;
mod evaluate;
mod held_out;
mod metrics;
mod prepare;
mod price;
mod scale;
mod steps;
mod subset;
mod written;

use std::path::PathBuf;

use crate::adapter::names::is_of_tower;
use crate::adapter::{Adapter, Module};
use crate::choice;
use crate::cli::settings::{self, Grain, HeldOutFrom, Scaling};
use crate::error::{BaseError, ChoiceError, Result};
use crate::hub::BasePath;
use crate::kernel::Arithmetic;
use crate::measure;
use crate::model::Model;
use crate::rewrite::steps::SharedStep;
use crate::samples::ReadOptions;
use crate::search;
pub use base::Base;
pub use evaluate::{Evaluation, evaluate, evaluate_together};
pub use price::{Price, price};
pub use written::{Target, write, write_cut};

/// Everything that an evaluation needs to know.
#[derive(Debug)]
pub struct Request {
    /// A folder, or a name in the Hugging Face cache.
    pub adapter: String,
    /// A folder, a GGUF file or a name; `None` for the one that the adapter names.
    pub base: Option<String>,
    pub samples: PathBuf,
    /// Samples that check the choice and have no part in it.
    pub held_out: Option<HeldOutFrom>,
    pub read: ReadOptions,
    pub chat: bool,
    pub tokenizer: Option<PathBuf>,
    pub max_samples: Option<usize>,
    pub truncate: bool,
    /// Whether the report may hold words of the samples.
    pub texts: bool,
    pub choice: choice::ChoiceOptions,
    /// What is kept may be scaled, too.
    pub scaling: Option<Scaling>,
    /// Whether parts below the boundary may go, too.
    pub subset: Option<Grain>,
    /// Whether other layers are tried for comparison.
    pub controls: bool,
    /// Whether the probability curve is wanted even if it does not choose.
    pub probability: bool,
    /// Adaptive with these options, or exhaustive.
    pub search: Option<search::SearchOptions>,
    /// How generated answers are scored, if at all.
    pub scoring: Option<settings::Scoring>,
    pub limits: settings::Limits,
    pub gates: settings::Gates,
    /// What is done with the cut adapter.
    pub steps: Vec<SharedStep>,
    pub arithmetic: Arithmetic,
    pub sweep: measure::ComputeOptions,
}

/// The base model that the user names, else the one that the adapter names.
pub fn find_base(base: Option<&str>, adapter: &Adapter) -> Result<BasePath> {
    match base {
        Some(name) => BasePath::find(name, None),
        None => {
            let name = adapter.config.text("base_model_name_or_path");
            let name = name.ok_or_else(|| BaseError::Unnamed { adapter: adapter.path.clone() })?;
            BasePath::find(name, adapter.config.text("revision"))
        }
    }
}

fn warn_of_towers(adapter: &Adapter) {
    let mut modules = adapter.modules().values();
    if let Some(Module { name: module, .. }) =
        modules.find(|module| module.layer.is_none() && is_of_tower(&module.name))
    {
        tracing::warn!(
            "text does not go through `{module}` and others of its stack: they are kept, and the losses do not know them"
        );
    }
}

fn check_boundary(request: &Request, model: &Model) -> Result<()> {
    let layers = model.config.layers;
    match request.choice.boundary {
        Some(boundary) if boundary == 0 || boundary > layers => {
            Err(ChoiceError::OutOfRange { boundary, layers }.into())
        }
        _ => Ok(()),
    }
}

fn within(limits: &settings::Limits, adapter: &Adapter, boundary: usize) -> bool {
    let layers = adapter.layers().range(..boundary).count();
    limits.max_layers.is_none_or(|most| layers <= most)
        && limits.max_bytes.is_none_or(|most| adapter.bytes_below(boundary) <= most)
}

fn limit_too_small(limits: &settings::Limits, adapter: &Adapter) -> ChoiceError {
    let first = adapter.layers().first().map_or(0, |layer| layer + 1);
    let (limit, smallest) = match limits.max_bytes {
        Some(most) if adapter.bytes_below(first) > most => {
            (format!("`--max-bytes {most}`"), format!("{} bytes", adapter.bytes_below(first)))
        }
        _ => (format!("`--max-layers {}`", limits.max_layers.unwrap_or(0)), "1 layer".into()),
    };
    ChoiceError::LimitTooSmall { limit, smallest }
}
