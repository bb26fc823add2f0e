//! Errors of choosing the boundary.

use super::Kind;
use crate::format::plural;

/// Choosing the boundary.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error("the adapter does not help on these samples: `{rule}` chooses boundary 0, the base model alone")]
    AdapterDoesNotHelp { rule: &'static str },
    #[error(
        "the adapter does not help on these samples: its loss of {whole:.4} is surely above the base model's, {base:.4}"
    )]
    WorseThanBase { base: f64, whole: f64 },
    #[error("the whole adapter does not help on these samples, but boundary {boundary} surely does")]
    OnlyAPartHelps { boundary: usize },
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
    #[error("none of the {} is left to check with: all are, or nearly are, among those that choose", plural(*samples, "held-out sample"))]
    NothingUnseen { samples: usize },
    #[error("`{name}` cannot be set so: {reason}")]
    Setting { name: String, reason: String },
    #[error("nothing fits {limit}: the smallest adapter that keeps something has {smallest}")]
    LimitTooSmall { limit: String, smallest: String },
    #[error("{samples} samples are too few for `--minimize`: some of them find what to keep, and others test it")]
    TooFewToSplit { samples: usize },
}

impl ChoiceError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::AdapterDoesNotHelp { .. } | Self::WorseThanBase { .. } | Self::OnlyAPartHelps { .. } => Kind::No,
            Self::LosesTheGuard { .. } => Kind::FailedGate,
            _ => Kind::Usage,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AdapterDoesNotHelp { .. } => {
                "check that the samples fit the adapter's task and format (`--chat`?); `--boundary N`, in place of \
                 `--choose` or `--minimize`, overrides"
            }
            Self::WorseThanBase { .. } => {
                "check that it is the base model that the adapter was trained on, and the samples' format (`--chat`?); `--boundary N`, in \
                 place of `--choose` or `--minimize`, overrides"
            }
            Self::OnlyAPartHelps { boundary } => {
                return Some(format!("`--boundary {boundary}`, in place of `--choose` or `--minimize`, writes it"));
            }
            Self::LosesTheGuard { .. } => {
                "nothing was written; raise the limit, give more samples, or judge by the loss alone with `--loss-only`"
            }
            Self::NotAShare { .. } => "write it as a number or in percent: `0.8`, `80%`",
            Self::OneStandardErrorWithoutBest { .. } => {
                "add `--choose best`; `smallest` has `--margin` and `--confidence`"
            }
            Self::NothingUnseen { .. } => {
                "name other samples with `--test`, or hold out a part of `--samples` with `--holdout`"
            }
            Self::TooFewToSplit { .. } => "give 4 samples or more, better 64",
            Self::NothingHeldOut { .. } => "give more samples, or name a file of test samples with `--test FILE`",
            Self::OutOfRange { .. } | Self::KeepsNothing { .. } | Self::LimitTooSmall { .. } | Self::Setting { .. } => {
                return None;
            }
        };
        Some(hint.into())
    }
}
