//! The JSON schemas of what commands write; docs/schemas/ has them.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::batch::PrintedRecord;
use super::check::CheckResult;
use super::document::Document;
use super::plan::PlanResult;
use super::verify::Verification;
use crate::audit::inspect::Inspection;
use crate::audit::runtimes::listing::Listing;
use crate::cli::DocumentKind;
use crate::pipeline::fix::FixReport;
use crate::report::Report;
use crate::report::compare::ReportComparison;

/// The JSON schema of what a command writes, of draft 2020-12.
pub fn schema(kind: DocumentKind) -> Schema {
    let mut schema = match kind {
        DocumentKind::Report => schema_of::<Report>(),
        DocumentKind::Record => schema_of::<PrintedRecord>(),
        DocumentKind::Inspect => schema_of::<Document<Inspection>>(),
        DocumentKind::Check => schema_of::<Document<CheckResult>>(),
        DocumentKind::Runtimes => schema_of::<Document<Listing>>(),
        DocumentKind::Verify => schema_of::<Document<Verification>>(),
        DocumentKind::Fix => schema_of::<Document<FixReport>>(),
        DocumentKind::Plan => schema_of::<Document<PlanResult>>(),
        DocumentKind::Compare => schema_of::<Document<ReportComparison>>(),
    };
    if let Some(value) = kind.to_possible_value() {
        schema.insert("title".into(), format!("lora-slim {}", value.get_name()).into());
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        schema.insert("description".into(), help.into());
    }
    schema
}

/// As it is written: fields that are left out where they are empty are not required.
fn schema_of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}
