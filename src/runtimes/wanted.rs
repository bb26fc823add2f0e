//! Whether what is yet to be written will load where it is wanted, so that a long run does not end in an adapter that does not.

use std::path::Path;

use super::facts::Subject;
use super::verdict::{reasons, unread};
use super::{Outcome, Remedy, Rule, Runtime};
use crate::adapter::export::Format;
use crate::error::{AdapterError, Result};

/// The options that decide what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub portable: bool,
    pub pad_zeros: bool,
    pub format: Format,
}

impl Wanted {
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

    /// The first of `runtimes` that will not load what is written of an adapter, as an error.
    pub fn require(self, subject: &Subject, runtimes: &[&'static Runtime]) -> Result<()> {
        let path: &Path = &subject.adapter.path;
        for runtime in runtimes {
            let unmet = match self.format {
                Format::Peft => {
                    let reasons = reasons(subject, runtime, |rule| self.mends(rule));
                    reasons.into_iter().find(|reason| reason.outcome != Outcome::Loads)
                }
                form => unread(form, runtime),
            };
            if let Some(reason) = unmet {
                let outcome = match reason.outcome {
                    Outcome::Refuses => "will not load",
                    _ => "will compute something else with",
                };
                let (path, runtime) = (path.into(), runtime.name);
                return Err(
                    AdapterError::Unmet { path, runtime, outcome, what: reason.what, remedy: reason.remedy }.into()
                );
            }
        }
        Ok(())
    }
}
