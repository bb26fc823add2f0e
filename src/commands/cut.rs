//! `lora-slim cut`: rewrite without evaluating.

use std::collections::BTreeSet;

use super::print;
use crate::adapter::{Adapter, Cut};
use crate::base;
use crate::cli::CutArgs;
use crate::error::{AdapterError, Result};
use crate::report::text;
use crate::{files, pipeline, settings};

pub fn run(args: CutArgs, quiet: bool) -> Result<bool> {
    let path = base::find(&args.adapter, None)?;
    files::check_output(&args.output, &[&path], args.force)?;
    let adapter = Adapter::open(&path, args.stack.as_deref())?;
    let layers: BTreeSet<usize> = match (args.boundary, args.keep_layers) {
        (Some(boundary), _) => (0..boundary).collect(),
        (None, Some(layers)) => layers,
        (None, None) => adapter.layers(),
    };
    if let Some(&layer) = layers.last().filter(|&&layer| layer >= adapter.layer_count()) {
        return Err(AdapterError::LayerOutOfRange { path, layer, layers: adapter.layer_count() }.into());
    }
    let steps = settings::steps(&args.reduce, &args.runtime);
    let cut = Cut::new(&adapter, &layers)?.scaled(args.scale)?;
    let report = match steps.as_slice() {
        [] => pipeline::write_cut(&args.adapter, &adapter, &cut, &args.output)?,
        steps => pipeline::write_reduced(&args.adapter, &adapter, &cut, steps, &args.output)?,
    };
    if !quiet && let Some(output) = &report.output {
        print(&format!(
            "{}{}\nwritten to {}\n",
            text::steps::table(&report),
            text::size(&report, output),
            args.output.display()
        ));
    }
    Ok(true)
}
