//! `lora-slim verify`: the proof that a cut is only a cut.

use super::print;
use crate::adapter::steps::change;
use crate::adapter::{Adapter, Allowed, compare, kept_layers};
use crate::cli::VerifyArgs;
use crate::error::Result;
use crate::report::text;
use crate::settings;

pub fn run(args: VerifyArgs, quiet: bool) -> Result<bool> {
    let allowed = Allowed { any_layers: args.any_layers, tolerance: settings::tolerance(&args)? };
    let original = Adapter::open(&args.original, None)?.scaled(args.scale)?;
    let slimmed = Adapter::open(&args.slimmed, Some(&original.stack))?;
    let differences = compare(&original, &slimmed, allowed)?;
    if differences.is_empty() {
        if !quiet {
            let kept = kept_layers(&original, &slimmed)?;
            let zeros: Vec<usize> = slimmed.layers().difference(&kept).copied().collect();
            let zeros = if zeros.is_empty() { String::new() } else { format!(", zeros in {}", text::ranges(&zeros)) };
            let kept: Vec<usize> = kept.into_iter().collect();
            let found = match allowed.tolerance {
                None => "byte for byte as in the original".into(),
                Some(_) => most_changed(&original, &slimmed)?,
            };
            print(&format!(
                "verified: {} of {} tensors, layers {}{zeros}, {found}; the configuration names exactly their modules\n",
                slimmed.tensors().count(),
                original.tensors().count(),
                text::ranges(&kept)
            ));
        }
        return Ok(true);
    }
    for difference in &differences {
        print(&format!("{difference}\n"));
    }
    Ok(false)
}

fn most_changed(original: &Adapter, slimmed: &Adapter) -> Result<String> {
    let changes = change::changes(original, slimmed)?;
    let (all, largest) = (change::relative(&changes), change::largest(&changes));
    Ok(largest.map_or("within the tolerance".into(), |largest| {
        format!(
            "ΔW changed by {} of its norm in all and by at most {} in one module (`{}`)",
            text::steps::percent(all),
            text::steps::percent(largest.relative()),
            largest.module
        )
    }))
}
