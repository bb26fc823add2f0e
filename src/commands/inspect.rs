//! `lora-slim inspect`: what an adapter is made of, from its headers and its low-rank factors alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::output::{print, print_json};
use crate::adapter::names::Part;
use crate::adapter::targets::module_types;
use crate::adapter::{Adapter, config::AdapterConfig};
use crate::cli::InspectArgs;
use crate::error::Result;
use crate::format::{bar, bytes, ranges};
use crate::hub;

#[derive(Serialize)]
struct Inspection {
    path: String,
    method: &'static str,
    base_model: Option<String>,
    rank: Option<usize>,
    alpha: Option<f64>,
    rslora: bool,
    /// Module types and how many modules there are of each.
    modules: BTreeMap<String, usize>,
    dtypes: BTreeSet<String>,
    stack: String,
    tensors: usize,
    bytes: u64,
    layers: Vec<LayerInspection>,
    /// Bytes of tensors outside the layers, which are kept at every boundary.
    other_bytes: u64,
    /// What keeps this adapter from being slimmed as far as others.
    limits: Vec<String>,
}

#[derive(Serialize)]
struct LayerInspection {
    layer: usize,
    bytes: u64,
    /// ‖scaling · B·A‖ over all modules of the layer; absent where it has no plain pairs.
    norm: Option<f64>,
}

pub fn run(args: InspectArgs) -> Result<bool> {
    let path = hub::find(&args.adapter, None)?;
    let adapter = Adapter::open(&path, args.stack.as_deref())?;
    let inspection = inspect(&args.adapter, &adapter)?;
    if args.json {
        print_json(&inspection)?
    } else {
        print(&render(&inspection))?
    }
    Ok(true)
}

fn inspect(name: &str, adapter: &Adapter) -> Result<Inspection> {
    let norms = adapter.layer_norms()?;
    let layer_bytes = adapter.layer_bytes();
    let other_bytes = adapter.bytes_below(0);
    let modules = adapter.modules();
    let config = &adapter.config;
    Ok(Inspection {
        path: name.into(),
        method: method(config),
        base_model: config.text("base_model_name_or_path").map(String::from),
        rank: config.rank,
        alpha: config.alpha,
        rslora: config.flag("use_rslora"),
        modules: module_types(modules.keys().map(String::as_str)).into_iter().map(|(k, v)| (k.into(), v)).collect(),
        dtypes: adapter.tensors().map(|tensor| tensor.entry.encoding.to_string()).collect(),
        stack: adapter.stack.clone(),
        tensors: adapter.tensors().count(),
        bytes: adapter.bytes_below(usize::MAX),
        layers: layer_bytes
            .into_iter()
            .map(|(layer, bytes)| LayerInspection { layer, bytes, norm: norms.get(&layer).copied() })
            .collect(),
        other_bytes,
        limits: limits(adapter, other_bytes),
    })
}

fn method(config: &AdapterConfig) -> &'static str {
    if config.flag("use_dora") { "DoRA" } else { config.method.name }
}

fn limits(adapter: &Adapter, other_bytes: u64) -> Vec<String> {
    let mut limits = adapter.config.features();
    if !adapter.config.method.is_evaluated {
        limits.push(format!("`slim` and `scan` cannot evaluate {}; `cut` works", adapter.config.method.name));
    }
    if adapter.tensors().any(|tensor| matches!(tensor.key.part, Part::EmbeddingA | Part::EmbeddingB)) {
        limits.push("LoRA on embeddings".into());
    }
    let all = adapter.bytes_below(usize::MAX);
    if other_bytes * 10 > all {
        let share = 100.0 * other_bytes as f64 / all as f64;
        limits.push(format!("{} ({share:.0} %) lie outside the layers and are always kept", bytes(other_bytes)));
    }
    limits
}

fn render(inspection: &Inspection) -> String {
    let mut text = String::new();
    let modules: Vec<String> = inspection.modules.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
    let dtypes: Vec<&str> = inspection.dtypes.iter().map(String::as_str).collect();
    let layers: Vec<usize> = inspection.layers.iter().map(|layer| layer.layer).collect();
    let rank = inspection.rank.map_or(String::new(), |rank| format!(", rank {rank}"));
    let alpha = inspection.alpha.map_or(String::new(), |alpha| format!(", alpha {alpha}"));
    let scaling = if inspection.rslora { ", rank-stabilised" } else { "" };
    let rows = [
        ("method", format!("{}{rank}{alpha}{scaling}", inspection.method)),
        ("base model", inspection.base_model.clone().unwrap_or("not named".into())),
        ("modules", modules.join(", ")),
        ("layers", format!("{} ({} of `{}`)", ranges(&layers), layers.len(), inspection.stack)),
        ("size", format!("{}, {} tensors, {}", bytes(inspection.bytes), inspection.tensors, dtypes.join(", "))),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    for limit in &inspection.limits {
        let _ = writeln!(text, "{:<11} {limit}", "note");
    }
    let _ = writeln!(text, "\n{:>5}  {:>10}  {:>9}", "layer", "size", "‖ΔW‖");
    let largest = inspection.layers.iter().filter_map(|layer| layer.norm).fold(0.0, f64::max);
    for layer in &inspection.layers {
        let (norm, chart) = match layer.norm {
            Some(norm) => (format!("{norm:.4}"), bar(norm / largest.max(f64::MIN_POSITIVE))),
            None => ("—".into(), String::new()),
        };
        let line = format!("{:>5}  {:>10}  {norm:>9}  {chart}", layer.layer, bytes(layer.bytes));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
