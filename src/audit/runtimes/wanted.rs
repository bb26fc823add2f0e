//! Whether what is yet to be written will load where it is wanted, so that a long run does not end in an adapter that does not.

//!
//! What can be told before is told before. Some things only what is written tells, so that it is looked at too, before it lies
//! where it is wanted.

use std::path::Path;

use super::facts::{Planned, Subject};
use super::known::Known;
use super::verdict::{Reason, Verdict, reasons, unread};
use super::{Outcome, Remedy, Rule, Runtime};
use crate::adapter::Adapter;
use crate::error::{AdapterError, Error, Result};
use crate::export::Format;
use crate::rewrite::steps::Step;

/// What decides how it is written, and for what base model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub portable: bool,
    pub pad_zeros: bool,
    /// Whether each module's rank is reduced by itself.
    pub varies_ranks: bool,
    /// The rank to which all modules are reduced that have a higher one.
    pub most_rank: Option<usize>,
    pub format: Format,
    pub base: Known,
}

impl Wanted {
    pub fn of(steps: &[Step], format: Format, base: Known) -> Self {
        let rank = steps.iter().find_map(|step| match step {
            Step::Rank(rules) => Some(rules.same_for_all()),
            _ => None,
        });
        Self {
            portable: steps.contains(&Step::Portable),
            pad_zeros: steps.iter().any(|step| matches!(step, Step::PadZeros(_))),
            varies_ranks: rank == Some(None),
            most_rank: rank.flatten(),
            format,
            base,
        }
    }

    /// Whether an option takes away what a rule is about.
    fn mends(&self, rule: &Rule) -> bool {
        match rule.remedy {
            Remedy::Portable => self.portable,
            Remedy::PadZeros => self.pad_zeros,
            // Whatever is written is one adapter_model.safetensors.
            Remedy::Rewrite => true,
            _ => false,
        }
    }

    /// The first of `runtimes` that will not load what is written of an adapter, of which `drops_layers` says whether it will
    /// lose any, as an error.
    pub fn require(&self, adapter: &Adapter, drops_layers: bool, runtimes: &[&'static Runtime]) -> Result<()> {
        if runtimes.is_empty() {
            return Ok(());
        }
        let planned = Planned { drops_layers, varies_ranks: self.varies_ranks, most_rank: self.most_rank };
        let layers = self.base.layers_for(adapter);
        let subject = Subject::new(adapter, layers, self.base.family.as_deref()).planned(planned);
        for runtime in runtimes {
            let unmet = match self.format {
                Format::Peft => {
                    let reasons = reasons(&subject, runtime, |rule| self.mends(rule));
                    reasons.into_iter().find(|reason| reason.outcome != Outcome::Loads)
                }
                form => unread(form, runtime),
            };
            if let Some(reason) = unmet {
                return Err(error(&adapter.path, runtime, &reason));
            }
        }
        Ok(())
    }
}

/// The first of `runtimes` that does not load what was written, by the `verdicts` on it, as an error.
pub fn check_written(path: &Path, verdicts: &[Verdict], runtimes: &[&'static Runtime]) -> Result<()> {
    let unmet = runtimes.iter().find_map(|runtime| {
        let verdict = verdicts.iter().find(|verdict| verdict.name == runtime.name)?;
        let reason = verdict.reasons.iter().find(|reason| reason.outcome != Outcome::Loads)?;
        Some(error(path, runtime, reason))
    });
    unmet.map_or(Ok(()), Err)
}

fn error(path: &Path, runtime: &Runtime, reason: &Reason) -> Error {
    let outcome = match reason.outcome {
        Outcome::Refuses => "will not load",
        _ => "will compute something else with",
    };
    let (what, remedy) = (reason.what.clone(), reason.remedy.clone());
    AdapterError::Unmet { path: path.into(), runtime: runtime.name, outcome, what, remedy }.into()
}
