//! `lora-slim fix`: write an adapter of another layout as PEFT saves it.

use super::fetch::Finder;
use super::output::{announce, print, print_json};
use crate::cli::FixArgs;
use crate::error::Result;
use crate::pipeline::fix::{FixReport, FixRequest, fix};
use crate::printable::OneLine;

pub fn run(args: FixArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let output = args.output;
    finder.adapter(&args.adapter)?;
    finder.named_base(args.base.as_deref())?;
    let request = FixRequest { adapter: args.adapter, base: args.base, alpha: args.alpha };
    let report = fix(&request, &output.folder, output.force)?;
    for remark in &report.remarks {
        tracing::warn!("{}: {remark}", report.adapter);
    }
    if output.json {
        print_json(&report)?;
    } else if !quiet {
        print(&render(&report))?;
    }
    announce(&format!("written to {}\n", OneLine(output.folder.display())), output.json, quiet).map(|()| true)
}

fn render(report: &FixReport) -> String {
    let changes = match report.changes.as_slice() {
        [] => "  nothing: it is as PEFT saves adapters\n".into(),
        changes => changes.iter().map(|change| format!("  {}\n", OneLine(change))).collect::<String>(),
    };
    let (tensors, modules) = (report.tensors, report.modules);
    format!("layout      {}\nwritten     {tensors} tensors of {modules} modules\nchanges\n{changes}", report.layout)
}
