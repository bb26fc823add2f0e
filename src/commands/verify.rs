//! `lora-slim verify`: the proof that a cut is only a cut.

use super::print;
use crate::adapter::{Adapter, compare};
use crate::cli::VerifyArgs;
use crate::error::Result;
use crate::report::text;

pub fn run(args: VerifyArgs, quiet: bool) -> Result<bool> {
    let original = Adapter::open(&args.original, None)?;
    let slimmed = Adapter::open(&args.slimmed, Some(&original.stack))?;
    let differences = compare(&original, &slimmed, args.any_layers)?;
    if differences.is_empty() {
        if !quiet {
            let layers: Vec<usize> = slimmed.layers().into_iter().collect();
            print(&format!(
                "verified: {} of {} tensors, layers {}, byte for byte as in the original; the configuration names exactly \
                 their modules\n",
                slimmed.tensors().count(),
                original.tensors().count(),
                text::ranges(&layers)
            ));
        }
        return Ok(true);
    }
    for difference in &differences {
        print(&format!("{difference}\n"));
    }
    Ok(false)
}
