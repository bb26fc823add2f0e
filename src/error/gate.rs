//! Failed gates: what the user requires of the result.

use super::Kind;

/// What the user requires of the result.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("{} failed: {}", if failed.len() == 1 { "a gate" } else { "gates" }, failed.join("; "))]
    Failed { failed: Vec<String> },
}

impl GateError {
    pub(super) fn kind(&self) -> Kind {
        Kind::FailedGate
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some("nothing was written; loosen the gate if the result is good enough for you".into())
    }
}
