//! `lora-slim verify`: proof that a slimmed adapter is its original without some layers, and nothing else.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{CommandResult, Document};
use super::fetch::Finder;
use super::output::{print, print_json};
use crate::adapter::Adapter;
use crate::audit::examine::KnownBase;
use crate::audit::fixed;
use crate::audit::verify::{AllowedDifferences, CutProof, compare, kept_layers};
use crate::cli::VerifyArgs;
use crate::cli::settings;
use crate::error::{AdapterError, Error, Result};
use crate::format::{self, plural};
use crate::hub::name::{HubName, is_address};
use crate::pipeline;
use crate::pipeline::fix::{FixRequest, FixSource};
use crate::printable::OneLine;
use crate::report::text;
use crate::rewrite::DeltaChange;
use crate::rewrite::dead_weight::{DeadWeight, DeadWeightSummary};

/// What `--json` writes.
#[derive(Serialize, JsonSchema)]
pub struct Verification {
    pub verified: bool,
    /// The layout of the original, if it is not an adapter that PEFT loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<&'static str>,
    /// One sentence each; empty if it is verified.
    differences: Vec<String>,
    /// Whether the slimmed adapter is the original, and the original a cut of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    swapped: bool,
    /// The layers that have an effect, lowest first.
    kept_layers: Vec<usize>,
    /// The layers that hold nothing but zeros.
    zero_layers: Vec<usize>,
    tensors_before: usize,
    tensors_after: usize,
    /// What is missing and changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_weight: Option<DeadWeightSummary>,
    /// The tensors that have their values in a narrower type.
    #[serde(skip_serializing_if = "is_zero")]
    narrowed_tensors: usize,
    /// With `--tolerance`: the distance of ΔW from the original's.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<DeltaChange>,
}

impl CommandResult for Verification {}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

pub fn run(args: VerifyArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let (json, allowed) = (args.json, allowed(&args)?);
    let verification = verify(args, finder)?;
    if json {
        print_json(&Document::of(&verification))?;
    } else if !verification.verified {
        print(&render_differences(&verification))?;
    } else if !quiet {
        print(&render(&verification, allowed))?;
    }
    Ok(verification.verified)
}

/// How much differs, and then what. Where the arguments are swapped, that is all there is to say.
fn render_differences(verification: &Verification) -> String {
    let (after, before) = (verification.tensors_after, verification.tensors_before);
    let count = plural(verification.differences.len(), "difference");
    let head = format!(
        "NOT verified: {count}; the other adapter has {}, and the original {before}\n",
        plural(after, "tensor")
    );
    if verification.swapped {
        return head
            + "the arguments are swapped: the second adapter is the original, and the first is what was made of it\n";
    }
    let line = |difference: &String| format!("{}\n", OneLine(difference));
    head + &verification.differences.iter().map(line).collect::<String>()
}

fn allowed(args: &VerifyArgs) -> Result<AllowedDifferences> {
    Ok(AllowedDifferences { any_layers: args.any_layers, tolerance: settings::tolerance(args)? })
}

/// Compares two adapters.
pub fn verify(args: VerifyArgs, finder: Finder) -> Result<Verification> {
    let args = VerifyArgs { original: original(&args, finder)?, ..args };
    finder.named_base(args.base.as_deref())?;
    let allowed = allowed(&args)?;
    if is_plain(&args) && args.alpha.is_some() {
        return verify_fixed(&args);
    }
    let original = match pipeline::open_adapter(&args.original, args.stack.as_deref(), None) {
        Err(_) if is_plain(&args) && args.base.is_some() => return verify_fixed(&args),
        Err(Error::Adapter(AdapterError::Foreign { .. })) if is_plain(&args) => return verify_fixed(&args),
        original => original?.scaled(args.scale)?,
    };
    let slimmed = match Adapter::open(&args.slimmed, Some(&original.stack)) {
        // `fix --base` gives modules the names of the base model.
        Err(Error::Adapter(AdapterError::UnknownStack { .. })) if is_plain(&args) => return verify_fixed(&args),
        slimmed => slimmed?,
    };
    let base = base_of(&args, (&original, &slimmed))?;
    let proof = compare(&original, &slimmed, allowed, base.weights())?;
    if !proof.differences.is_empty() && is_plain(&args) && args.base.is_some() {
        return verify_fixed(&args);
    }
    let verification = describe(&original, &slimmed, &proof, allowed)?;
    let may_be_swapped =
        !verification.verified && args.scale == 1.0 && original.tensors().count() < slimmed.tensors().count();
    let swapped = may_be_swapped && compare(&slimmed, &original, allowed, base.weights())?.differences.is_empty();
    Ok(Verification { swapped, ..verification })
}

/// The base model, where one of the two adapters has fewer whole weights: these may be the base model's.
fn base_of(args: &VerifyArgs, (original, slimmed): (&Adapter, &Adapter)) -> Result<KnownBase> {
    let find = || pipeline::find_base(args.base.as_deref(), original);
    match args.base {
        // `fix` reads no weights of it.
        Some(_) if is_plain(args) => Ok(KnownBase::open_if_there(find())),
        Some(_) => KnownBase::open(&find()?),
        None if DeadWeight::whole(original).count() > DeadWeight::whole(slimmed).count() => {
            Ok(KnownBase::open_if_there(find()))
        }
        None => Ok(KnownBase::default()),
    }
}

/// The place of the original, which may be a name. A path that is not there is found missing when it is opened.
fn original(args: &VerifyArgs, finder: Finder) -> Result<PathBuf> {
    let is_elsewhere =
        |name: &&str| is_address(name) || HubName::parse(name).is_some_and(|name| name.has_organisation());
    match args.original.to_str().filter(is_elsewhere) {
        Some(name) => finder.adapter(name),
        None => Ok(args.original.clone()),
    }
}

/// Whether nothing but the original itself may be in the other adapter.
fn is_plain(args: &VerifyArgs) -> bool {
    args.scale == 1.0 && !args.any_layers && args.tolerance.is_none()
}

/// Compares an adapter that `fix` wrote with the files that it stands for.
fn verify_fixed(args: &VerifyArgs) -> Result<Verification> {
    let adapter = args.original.to_string_lossy().into_owned();
    let request = FixRequest { adapter, base: args.base.clone(), alpha: args.alpha };
    let source = FixSource::read(&args.original, &request)?;
    let fix = source.fix()?;
    let fixed = Adapter::open(&args.slimmed, fix.stack())?;
    let differences: Vec<String> = fixed::compare(&fix, &fixed)?.iter().map(ToString::to_string).collect();
    Ok(Verification {
        verified: differences.is_empty(),
        swapped: false,
        layout: Some(source.layout()),
        kept_layers: fixed.layers().into_iter().collect(),
        zero_layers: Vec::new(),
        tensors_before: source.stored.names().count(),
        tensors_after: fixed.tensors().count(),
        dead_weight: None,
        narrowed_tensors: 0,
        change: None,
        differences,
    })
}

fn render_fixed(verification: &Verification, layout: &str) -> String {
    format!(
        "verified: {} tensors for the {} of the original, in the layout of {layout}; each value is in its place, and ranks and \
         scalings are the same\n",
        verification.tensors_after, verification.tensors_before
    )
}

fn describe(
    original: &Adapter,
    slimmed: &Adapter,
    proof: &CutProof,
    allowed: AllowedDifferences,
) -> Result<Verification> {
    let kept = kept_layers(original, slimmed)?;
    let verified = proof.differences.is_empty();
    let change = if verified && allowed.tolerance.is_some() { DeltaChange::between(original, slimmed)? } else { None };
    Ok(Verification {
        verified,
        swapped: false,
        layout: None,
        differences: proof.differences.iter().map(ToString::to_string).collect(),
        dead_weight: Some(proof.left_out.clone()).filter(|left_out| !left_out.parts.is_empty()),
        narrowed_tensors: proof.narrowed,
        zero_layers: slimmed.layers().difference(&kept).copied().collect(),
        kept_layers: kept.into_iter().collect(),
        tensors_before: original.tensors().count(),
        tensors_after: slimmed.tensors().count(),
        change,
    })
}

fn render(verification: &Verification, allowed: AllowedDifferences) -> String {
    if let Some(layout) = verification.layout {
        return render_fixed(verification, layout);
    }
    let zeros = match &verification.zero_layers[..] {
        [] => String::new(),
        zeros => format!(", zeros in {}", format::ranges(zeros)),
    };
    let how = match (&verification.change, allowed.tolerance) {
        (_, None) if verification.narrowed_tensors == 0 => "byte for byte as in the original".into(),
        (_, None) => format!(
            "value for value as in the original, {} of them in a narrower type that holds them all",
            plural(verification.narrowed_tensors, "tensor")
        ),
        (None, Some(_)) => "within the tolerance".into(),
        (Some(change), Some(_)) => format!(
            "ΔW changed by {} of its norm in total and by at most {} in one module (`{}`)",
            text::steps::percent(change.relative),
            text::steps::percent(change.largest),
            OneLine(&change.largest_module)
        ),
    };
    format!(
        "verified: {} of {} tensors, layers {}{zeros}, {how}; the configuration names exactly their modules\n{}",
        verification.tensors_after,
        verification.tensors_before,
        format::ranges(&verification.kept_layers),
        verification.dead_weight.iter().map(ToString::to_string).collect::<String>()
    )
}
