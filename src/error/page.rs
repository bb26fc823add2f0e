//! Errors of rendering report pages.

use super::Kind;

/// A template does not fit the report.
#[derive(Debug, thiserror::Error)]
#[error("the report page cannot be rendered: {0}")]
pub struct PageError(pub minijinja::Error);

impl PageError {
    pub(super) fn kind(&self) -> Kind {
        Kind::Internal
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some("this is a bug in lora-slim; please report it".into())
    }
}
