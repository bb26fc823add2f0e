//! `lora-slim inspect`: prints what an adapter is made of.

use std::fmt::Write;

use super::document::{CommandResult, Document};
use super::fetch::Finder;
use super::output::{print, print_json};
use crate::audit::examine::KnownBase;
use crate::audit::inspect::{InspectedDeadWeight, InspectedNames, Inspection, LayerInspection, inspect};
use crate::cli::InspectArgs;
use crate::error::Result;
use crate::format::{bar, bytes, ranges};
use crate::pipeline;
use crate::printable::OneLine;
use crate::report::warnings::{Finding, LIMITED, NOT_COMPARED, UNUSED_INPUT, WRONG_ADAPTER, Warning};
use crate::rewrite::dead_weight::DeadWeight;

pub fn run(args: InspectArgs, finder: Finder) -> Result<bool> {
    let inspection = inspection(&args, finder)?;
    if args.json {
        print_json(&Document::of(&inspection))?
    } else {
        print(&render(&inspection))?
    }
    Ok(true)
}

/// Opens and inspects an adapter.
pub fn inspection(args: &InspectArgs, finder: Finder) -> Result<Inspection> {
    let path = finder.adapter(&args.adapter)?;
    finder.named_base(args.base.as_deref())?;
    let adapter = pipeline::open_adapter(&path, args.stack.as_deref(), args.base.as_deref())?;
    let base = pipeline::find_base(args.base.as_deref(), &adapter);
    let base = match args.base {
        Some(_) => KnownBase::open(&base?)?,
        None if DeadWeight::needs_base(&adapter) => KnownBase::open_if_there(base),
        None => KnownBase::default(),
    };
    let names = InspectedNames { adapter: &args.adapter, base: args.base.as_deref() };
    inspect(names, &adapter, base.weights())
}

impl CommandResult for Inspection {
    fn warnings(&self) -> Vec<Warning> {
        let coded = |code: &'static str, sentences: &[String]| -> Vec<Warning> {
            sentences.iter().map(|sentence| Finding::new(sentence).coded(code)).collect()
        };
        let not_compared: Vec<String> = self.dead_weight.summary.not_compared.iter().cloned().collect();
        [
            coded(WRONG_ADAPTER, &self.wrong),
            coded(LIMITED, &self.limits),
            coded(NOT_COMPARED, &not_compared),
            coded(UNUSED_INPUT, &self.remarks),
        ]
        .concat()
    }
}

fn dead_weight(text: &mut String, dead: &InspectedDeadWeight) {
    let parts = dead.summary.parts.iter().map(ToString::to_string);
    for part in parts.chain(dead.exact_types.iter().map(ToString::to_string)) {
        let _ = writeln!(text, "{:<11} {}", "dead weight", OneLine(part));
    }
    if let Some(reason) = &dead.summary.not_compared {
        let _ = writeln!(
            text,
            "{:<11} some whole weights were not compared with the base model's: {}",
            "dead weight",
            OneLine(reason)
        );
    }
    if let Some(command) = &dead.command {
        let _ = writeln!(text, "{:<11} {} go with {}", "", bytes(dead.bytes), OneLine(command));
    }
}

fn render(inspection: &Inspection) -> String {
    let mut text = String::new();
    let modules: Vec<String> = inspection.modules.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
    let dtypes: Vec<&str> = inspection.dtypes.iter().map(String::as_str).collect();
    let rank = inspection.rank.map_or(String::new(), |rank| format!(", rank {rank}"));
    let alpha = inspection.alpha.map_or(String::new(), |alpha| format!(", alpha {alpha}"));
    let scaling = if inspection.rslora { ", rank-stabilised" } else { "" };
    let rows = [
        ("method", format!("{}{rank}{alpha}{scaling}", inspection.method)),
        ("base model", inspection.base_model.clone().unwrap_or("not named".into())),
        ("modules", modules.join(", ")),
        ("layers", layers(&inspection.layers, &inspection.stack)),
        ("size", format!("{}, {} tensors, {}", bytes(inspection.bytes), inspection.tensors, dtypes.join(", "))),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<11} {}", OneLine(value));
    }
    for reason in &inspection.wrong {
        let _ = writeln!(text, "{:<11} {}", "wrong", OneLine(reason));
    }
    dead_weight(&mut text, &inspection.dead_weight);
    for limit in inspection.limits.iter().chain(&inspection.remarks) {
        let _ = writeln!(text, "{:<11} {}", "note", OneLine(limit));
    }
    table(&mut text, &inspection.layers);
    for other in &inspection.other_stacks {
        let modules: Vec<String> = other.modules.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
        let rows =
            [("", String::new()), ("beside", layers(&other.layers, &other.stack)), ("modules", modules.join(", "))];
        for (name, value) in rows {
            let _ = writeln!(text, "{}", format!("{name:<11} {}", OneLine(value)).trim_end());
        }
        table(&mut text, &other.layers);
    }
    text
}

fn layers(layers: &[LayerInspection], stack: &str) -> String {
    let numbers: Vec<usize> = layers.iter().map(|layer| layer.layer).collect();
    format!("{} ({} of `{stack}`)", ranges(&numbers), numbers.len())
}

/// A line for each layer of a stack.
fn table(text: &mut String, layers: &[LayerInspection]) {
    let _ = writeln!(text, "\n{:>5}  {:>10}  {:>9}", "layer", "size", "‖ΔW‖");
    let largest = layers.iter().filter_map(|layer| layer.norm).fold(0.0, f64::max);
    for layer in layers {
        let (norm, chart) = match layer.norm {
            Some(norm) => (format!("{norm:.4}"), bar(norm / largest.max(f64::MIN_POSITIVE))),
            None => ("—".into(), String::new()),
        };
        let line = format!("{:>5}  {:>10}  {norm:>9}  {chart}", layer.layer, bytes(layer.bytes));
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
