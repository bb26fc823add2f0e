//! `lora-slim cut`: rewrite without evaluating.

use std::collections::BTreeSet;
use std::path::Path;

use super::fetch::Finder;
use super::output::{announce, print, print_json, warn};
use crate::audit::examine::KnownBase;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::planned::PlannedOutput;
use crate::choice::gates;
use crate::cli::CutArgs;
use crate::cli::settings;
use crate::error::{AdapterError, Result};
use crate::pipeline;
use crate::pipeline::output::{Target, UnevaluatedCut};
use crate::printable::OneLine;
use crate::report::{Report, text};
use crate::rewrite::steps::PlannedChanges;
use crate::rewrite::{Boundary, Cut};

pub fn run(args: CutArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let (format, path) = (args.runtime.format, settings::written(&args.output).map(Path::to_path_buf));
    let json = args.output.json;
    let report = write(args, finder)?;
    let printed = print_report(&report, json, quiet);
    let announced = printed.and_then(|()| gates::check(&report.gates)).and_then(|()| {
        let Some(path) = path else { return Ok(()) };
        let loads = text::runtimes::written(&report.runtimes, format, &path);
        announce(&format!("written to {}\n{loads}", OneLine(path.display())), json, quiet)
    });
    warn(&report);
    announced.map(|()| true)
}

fn print_report(report: &Report, json: bool, quiet: bool) -> Result<()> {
    match (json, quiet) {
        (true, _) => print_json(report),
        (false, false) => print(&text::report_of_cut(report)),
        (false, true) => Ok(()),
    }
}

/// Cuts an adapter and writes the rest, unless a gate fails. Returns the report, as it was written if it was.
pub fn write(args: CutArgs, finder: Finder) -> Result<Report> {
    let path = finder.adapter(&args.adapter)?;
    let format = args.runtime.format;
    if let Some(folder) = &args.output.folder {
        format.check_folder_name(folder)?;
    }
    pipeline::base_of(&path, args.base.as_deref());
    let destination = settings::destination(&args.output, &[&path])?;
    finder.base_of_cut(&args, &path)?;
    pipeline::base_of(&path, args.base.as_deref());
    let gates = args.gates.gates;
    let adapter = pipeline::open_adapter(&path, args.stack.as_deref(), args.base.as_deref())?;
    let layers: BTreeSet<usize> = match (args.boundary, args.keep_layers) {
        (Some(Boundary::Below(boundary)), _) => (0..boundary).collect(),
        (Some(Boundary::All), _) => adapter.layers(),
        (None, Some(layers)) => layers,
        (None, None) => adapter.layers(),
    };
    if let Some(&layer) = layers.last().filter(|&&layer| layer >= adapter.layer_count()) {
        return Err(AdapterError::LayerOutOfRange { path, layer, layers: adapter.layer_count() }.into());
    }
    let steps = settings::steps(&args.reduce, &args.runtime);
    let drops_layers = layers.len() < adapter.layers().len();
    let changes = PlannedChanges { drops_layers, ..PlannedChanges::by(&steps) };
    let runtimes = &args.runtime.runtimes;
    let find_base = || pipeline::find_base(args.base.as_deref(), &adapter);
    let mut base = match args.base {
        Some(_) => KnownBase::open(&find_base()?)?,
        None if steps.iter().any(|step| step.needs_base(&adapter)) => KnownBase::open_if_there(find_base()),
        None => BaseFacts::if_readable(find_base().ok()).into(),
    };
    PlannedOutput { changes, format, base: base.facts.clone() }.require(&adapter, runtimes)?;
    let cut = Cut::new(&adapter, &layers)?.scaled(args.scale)?;
    let exporter = format.exporter(find_base, changes)?;
    exporter.check(&adapter, changes)?;
    base.facts.layers = base.facts.layers_for(&adapter);
    let has_card = !args.runtime.no_card;
    let target = Target { staging: &destination.staging, exporter: &*exporter, base, runtimes, has_card };
    let (name, command) = (&args.adapter, args.given.command_line("cut", &args.adapter));
    UnevaluatedCut { name, command, adapter: &adapter, cut: &cut, steps: &steps, gates: &gates, target: &target }
        .write()
}
