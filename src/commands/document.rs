//! What commands that write no report print with `--json`. docs/report.md says how it may change.

use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::runtimes::listing::Listing;
use crate::report::{SCHEMA_VERSION, Warning};

/// The result of a command that writes no report, as JSON. A report has these fields itself.
#[derive(Serialize, JsonSchema)]
pub struct Document<'a, T> {
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: u32,
    #[serde(flatten)]
    result: &'a T,
    /// What the user should know, the gravest first.
    warnings: Vec<Warning>,
}

/// The result of a command.
pub trait CommandResult: Serialize + JsonSchema {
    /// What the user should know before trusting it, the gravest first.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

impl<'a, T: CommandResult> Document<'a, T> {
    pub fn of(result: &'a T) -> Self {
        Self { schema_version: SCHEMA_VERSION, result, warnings: result.warnings() }
    }
}

impl CommandResult for Listing {}
