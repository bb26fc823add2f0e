//! Whether what is yet to be written will load where it is wanted, so that a long run does not end in an adapter that does not.

use super::facts::{Planned, Subject};
use super::verdict::{reasons, unread};
use super::{Outcome, Remedy, Rule, Runtime};
use crate::adapter::Adapter;
use crate::adapter::export::Format;
use crate::adapter::steps::Step;
use crate::error::{AdapterError, Result};

/// The options that decide what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub portable: bool,
    pub pad_zeros: bool,
    /// Whether each module's rank is reduced by itself.
    pub varies_ranks: bool,
    pub format: Format,
}

impl Wanted {
    pub fn of(steps: &[Step], format: Format) -> Self {
        Self {
            portable: steps.contains(&Step::Portable),
            pad_zeros: steps.iter().any(|step| matches!(step, Step::PadZeros(_))),
            varies_ranks: steps.iter().any(|step| matches!(step, Step::Rank(rules) if !rules.is_same_for_all())),
            format,
        }
    }

    /// Whether an option takes away what a rule is about.
    fn mends(self, rule: &Rule) -> bool {
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
    pub fn require(self, adapter: &Adapter, drops_layers: bool, runtimes: &[&'static Runtime]) -> Result<()> {
        if runtimes.is_empty() {
            return Ok(());
        }
        let planned = Planned { drops_layers, varies_ranks: self.varies_ranks };
        let subject = Subject::new(adapter, Some(adapter.layer_count()), None).planned(planned);
        for runtime in runtimes {
            let unmet = match self.format {
                Format::Peft => {
                    let reasons = reasons(&subject, runtime, |rule| self.mends(rule));
                    reasons.into_iter().find(|reason| reason.outcome != Outcome::Loads)
                }
                form => unread(form, runtime),
            };
            if let Some(reason) = unmet {
                let outcome = match reason.outcome {
                    Outcome::Refuses => "will not load",
                    _ => "will compute something else with",
                };
                let (path, runtime) = (adapter.path.clone(), runtime.name);
                return Err(
                    AdapterError::Unmet { path, runtime, outcome, what: reason.what, remedy: reason.remedy }.into()
                );
            }
        }
        Ok(())
    }
}
