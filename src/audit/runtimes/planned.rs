//! Whether the required runtimes will load an adapter that is yet to be written.
//!
//! What can be told before the run is checked before it. Some things show only in what was written, so that is checked too, before
//! it is published.

use std::path::Path;

use super::base_facts::BaseFacts;
use super::facts::AdapterFacts;
use super::verdict::{LoadReason, RuntimeVerdict, reasons, unread};
use super::{LoadOutcome, Remedy, Runtime};
use crate::adapter::Adapter;
use crate::error::{AdapterError, Error, Result};
use crate::export::Format;
use crate::rewrite::steps::PlannedChanges;

/// How an adapter will be written, and for what base model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedOutput {
    pub changes: PlannedChanges,
    pub format: Format,
    pub base: BaseFacts,
}

impl PlannedOutput {
    /// Whether a remedy is among the planned changes.
    fn applies(&self, remedy: Remedy) -> bool {
        match remedy {
            Remedy::Portable => self.changes.unifies,
            Remedy::PadZeros => self.changes.pads_layers,
            // Every output is one adapter_model.safetensors with PEFT's names.
            Remedy::Rewrite | Remedy::Rename => true,
            _ => false,
        }
    }

    /// An error for the first of `runtimes` that will not load what is written of an adapter.
    pub fn require(&self, adapter: &Adapter, runtimes: &[&'static Runtime]) -> Result<()> {
        if runtimes.is_empty() {
            return Ok(());
        }
        if let Some(runtime) = runtimes.iter().find(|runtime| !runtime.is_known_for(adapter)) {
            return Err(unknown(&adapter.path, runtime));
        }
        let unmet = self.unmet(adapter, runtimes).into_iter().next();
        unmet.map_or(Ok(()), |(runtime, reason)| Err(error(&adapter.path, runtime, &reason)))
    }

    /// The runtimes that will not load what is written of an adapter, or compute something else, with the gravest reason; as far as
    /// configuration and headers tell.
    pub fn unmet(&self, adapter: &Adapter, runtimes: &[&'static Runtime]) -> Vec<(&'static Runtime, LoadReason)> {
        let base = BaseFacts { layers: self.base.layers_for(adapter), ..self.base.clone() };
        let facts = AdapterFacts::new(adapter, &base, self.changes, adapter.header_flaws(&base));
        let reason = |runtime: &'static Runtime| match self.format {
            Format::Peft => {
                let reasons = reasons(&facts, runtime, |remedy| self.applies(remedy));
                reasons.into_iter().find(|reason| reason.outcome != LoadOutcome::Loads)
            }
            format => unread(format, runtime),
        };
        runtimes.iter().filter_map(|&runtime| Some((runtime, reason(runtime)?))).collect()
    }
}

/// An error for the first of `runtimes` that does not load what was written, by the `verdicts` on it.
pub fn check_written(path: &Path, verdicts: &[RuntimeVerdict], runtimes: &[&'static Runtime]) -> Result<()> {
    let unmet = runtimes.iter().find_map(|runtime| {
        let verdict = verdicts.iter().find(|verdict| verdict.name == runtime.name)?;
        let reason = verdict.reasons.iter().find(|reason| reason.outcome != LoadOutcome::Loads)?;
        Some(error(path, runtime, reason))
    });
    unmet.map_or(Ok(()), Err)
}

/// The error of a runtime of which it is not known what it makes of a model with an encoder.
fn unknown(path: &Path, runtime: &Runtime) -> Error {
    let (what, outcome) = ("its base model has an encoder and a decoder".into(), "is not known to load");
    AdapterError::Unmet { path: path.into(), runtime: runtime.name, outcome, what, remedy: None }.into()
}

fn error(path: &Path, runtime: &Runtime, reason: &LoadReason) -> Error {
    let outcome = match reason.outcome {
        LoadOutcome::Refuses => "will not load",
        _ => "will compute something else with",
    };
    let (what, remedy) = (reason.what.clone(), reason.remedy.clone());
    AdapterError::Unmet { path: path.into(), runtime: runtime.name, outcome, what, remedy }.into()
}
