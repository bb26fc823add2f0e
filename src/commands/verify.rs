//! `lora-slim verify`: proof that a slimmed adapter is its original without some layers, and nothing else.

use serde::Serialize;

use super::output::{print, print_json};
use crate::adapter::Adapter;
use crate::audit::verify::{AllowedDifferences, compare, kept_layers};
use crate::cli::VerifyArgs;
use crate::cli::settings;
use crate::error::Result;
use crate::format;
use crate::pipeline;
use crate::report::text;
use crate::rewrite::DeltaChange;

/// What `--json` writes.
#[derive(Serialize)]
struct Verification {
    verified: bool,
    /// One sentence each; empty if it is verified.
    differences: Vec<String>,
    /// The layers that have an effect, lowest first.
    kept_layers: Vec<usize>,
    /// The layers that hold nothing but zeros.
    zero_layers: Vec<usize>,
    tensors_before: usize,
    tensors_after: usize,
    /// With `--tolerance`: the distance of ΔW from the original's.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<DeltaChange>,
}

pub fn run(args: VerifyArgs, quiet: bool) -> Result<bool> {
    let allowed = AllowedDifferences { any_layers: args.any_layers, tolerance: settings::tolerance(&args)? };
    let original = pipeline::open_adapter(&args.original, args.stack.as_deref(), None)?.scaled(args.scale)?;
    let slimmed = Adapter::open(&args.slimmed, Some(&original.stack))?;
    let differences = compare(&original, &slimmed, allowed)?;
    let verified = differences.is_empty();
    if args.json {
        let differences = differences.iter().map(ToString::to_string).collect();
        print_json(&describe(&original, &slimmed, differences, allowed)?)?;
    } else if !verified {
        differences.iter().try_for_each(|difference| print(&format!("{difference}\n")))?;
    } else if !quiet {
        print(&render(&describe(&original, &slimmed, Vec::new(), allowed)?, allowed))?;
    }
    Ok(verified)
}

fn describe(
    original: &Adapter,
    slimmed: &Adapter,
    differences: Vec<String>,
    allowed: AllowedDifferences,
) -> Result<Verification> {
    let kept = kept_layers(original, slimmed)?;
    let verified = differences.is_empty();
    let change = if verified && allowed.tolerance.is_some() { DeltaChange::between(original, slimmed)? } else { None };
    Ok(Verification {
        verified,
        differences,
        zero_layers: slimmed.layers().difference(&kept).copied().collect(),
        kept_layers: kept.into_iter().collect(),
        tensors_before: original.tensors().count(),
        tensors_after: slimmed.tensors().count(),
        change,
    })
}

fn render(verification: &Verification, allowed: AllowedDifferences) -> String {
    let zeros = match &verification.zero_layers[..] {
        [] => String::new(),
        zeros => format!(", zeros in {}", format::ranges(zeros)),
    };
    let how = match (&verification.change, allowed.tolerance) {
        (_, None) => "byte for byte as in the original".into(),
        (None, Some(_)) => "within the tolerance".into(),
        (Some(change), Some(_)) => format!(
            "ΔW changed by {} of its norm in total and by at most {} in one module (`{}`)",
            text::steps::percent(change.relative),
            text::steps::percent(change.largest),
            change.largest_module
        ),
    };
    format!(
        "verified: {} of {} tensors, layers {}{zeros}, {how}; the configuration names exactly their modules\n",
        verification.tensors_after,
        verification.tensors_before,
        format::ranges(&verification.kept_layers)
    )
}
