//! `lora-slim fix`: write an adapter of another layout as PEFT saves it.

use std::path::Path;

use super::document::{CommandResult, Document};
use super::fetch::Finder;
use super::output::{announce, print, print_json};
use crate::cli::FixArgs;
use crate::cli::settings;
use crate::error::Result;
use crate::pipeline::fix::{FixReport, FixRequest, fix};
use crate::printable::OneLine;
use crate::report::warnings::{Finding, UNUSED_INPUT, Warning};

pub fn run(args: FixArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let (folder, json) = (settings::written(&args.output).map(Path::to_path_buf), args.output.json);
    let report = write(args, finder)?;
    let printed = show(&report, json, quiet).and_then(|()| match folder {
        Some(folder) => announce(&format!("written to {}\n", OneLine(folder.display())), json, quiet),
        None => Ok(()),
    });
    for remark in &report.remarks {
        tracing::warn!("{}: {remark}", report.adapter);
    }
    printed.map(|()| true)
}

fn show(report: &FixReport, json: bool, quiet: bool) -> Result<()> {
    if json {
        print_json(&Document::of(report))
    } else if !quiet {
        print(&render(report))
    } else {
        Ok(())
    }
}

/// Writes the adapter as PEFT saves it.
pub fn write(args: FixArgs, finder: Finder) -> Result<FixReport> {
    finder.adapter(&args.adapter)?;
    finder.named_base(args.base.as_deref())?;
    let request = FixRequest { adapter: args.adapter, base: args.base, alpha: args.alpha };
    fix(&request, |adapter| settings::destination(&args.output, &[adapter]))
}

impl CommandResult for FixReport {
    fn warnings(&self) -> Vec<Warning> {
        self.remarks.iter().map(|remark| Finding::new(remark).coded(UNUSED_INPUT)).collect()
    }
}

fn render(report: &FixReport) -> String {
    let changes = match report.changes.as_slice() {
        [] => "  nothing: it is as PEFT saves adapters\n".into(),
        changes => changes.iter().map(|change| format!("  {}\n", OneLine(change))).collect::<String>(),
    };
    let (tensors, modules) = (report.tensors, report.modules);
    format!("layout      {}\nwritten     {tensors} tensors of {modules} modules\nchanges\n{changes}", report.layout)
}
