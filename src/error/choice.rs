//! Errors of choosing the boundary.

use super::Kind;
use crate::format::plural;

/// Choosing the boundary.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error("the adapter does not help on these samples: `{rule}` chooses boundary 0, the base model alone")]
    AdapterDoesNotHelp { rule: &'static str },
    #[error("within the limit boundary {boundary} is the best, and it cannot be shown to keep {guard}")]
    LosesTheGuard { boundary: usize, guard: &'static str },
    #[error("boundary {boundary} is not between 1 and {layers}, the number of layers")]
    OutOfRange { boundary: usize, layers: usize },
    #[error("boundary {boundary} keeps no layer: the lowest of the adapter is layer {lowest}")]
    KeepsNothing { boundary: usize, lowest: usize },
    #[error("`{flag} {given}` is not a share from {least} to below 1")]
    NotAShare { flag: &'static str, given: String, least: f64 },
    #[error("`--one-standard-error` does not go with the rule `{rule}`")]
    OneStandardErrorWithoutBest { rule: &'static str },
    #[error("`--holdout {share}` of {} leaves none to choose by, or none to check with", plural(*samples, "sample"))]
    NothingHeldOut { share: f64, samples: usize },
    #[error("`{name}` cannot be set so: {reason}")]
    Setting { name: String, reason: String },
    #[error("no boundary fits {limit}: the smallest adapter that keeps a layer has {smallest}")]
    LimitTooSmall { limit: String, smallest: String },
}

impl ChoiceError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::AdapterDoesNotHelp { .. } => Kind::No,
            Self::LosesTheGuard { .. } => Kind::FailedGate,
            _ => Kind::Usage,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AdapterDoesNotHelp { .. } => {
                "check that the samples fit the adapter's task and format (`--chat`?); `--boundary N` overrides"
            }
            Self::LosesTheGuard { .. } => {
                "nothing was written; raise the limit, give more samples, or judge by the loss alone with `--loss-only`"
            }
            Self::NotAShare { .. } => "write it as a number or in percent: `0.8`, `80%`",
            Self::OneStandardErrorWithoutBest { .. } => {
                "add `--choose best`; `smallest` has `--margin` and `--confidence`"
            }
            Self::NothingHeldOut { .. } => "give more samples, or name a file of test samples with `--test FILE`",
            Self::OutOfRange { .. } | Self::KeepsNothing { .. } | Self::LimitTooSmall { .. } | Self::Setting { .. } => {
                return None;
            }
        };
        Some(hint.into())
    }
}
