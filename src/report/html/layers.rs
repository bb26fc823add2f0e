//! What each layer has of the adapter: how much it changes the base model, and how many bytes it takes.

use super::bars::{self, Bar};
use super::element::{Element, el};
use super::words::{self, plural};
use super::{Report, column, paragraph, part, scrolling};
use crate::format::bytes;
use crate::report::LayerShare;

pub fn section(report: &Report) -> Option<Element> {
    let layers = report.layers.as_slice();
    let first = layers.first()?;
    let mut section = part("layers", "What each layer holds");
    if layers.iter().any(|layer| layer.norm.is_some()) {
        let explained = "‖ΔW‖ is how much the adapter changes the weights of a layer. It does not say what the layer is worth: \
                         the losses above do.";
        section = section.add(paragraph("", explained)).add(norms(layers));
    }
    if layers.iter().all(|layer| layer.bytes == first.bytes) {
        let each = format!("Each of the {} takes {}.", plural(layers.len(), "layer"), bytes(first.bytes));
        section = section.add(paragraph("", each));
    } else {
        section = section.add(sizes(layers));
    }
    let table = el("details").add(el("summary").text("All layers in numbers")).add(table(layers));
    Some(section.add(table))
}

fn norms(layers: &[LayerShare]) -> Element {
    let bar = |layer: &LayerShare| Bar { layer: layer.layer, value: layer.norm, kept: layer.kept, text: told(layer) };
    let bars: Vec<Bar> = layers.iter().map(bar).collect();
    figure(&bars, "‖ΔW‖, Frobenius norm of the change", "Norm of the change of each layer")
}

fn sizes(layers: &[LayerShare]) -> Element {
    const UNITS: [(&str, f64); 4] = [("bytes", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)];
    let largest = layers.iter().map(|layer| layer.bytes).max().unwrap_or(0) as f64;
    let (unit, size) = UNITS.into_iter().rev().find(|(_, size)| largest >= *size).unwrap_or(UNITS[0]);
    let bar = |layer: &LayerShare| {
        let value = Some(layer.bytes as f64 / size);
        Bar { layer: layer.layer, value, kept: layer.kept, text: told(layer) }
    };
    let bars: Vec<Bar> = layers.iter().map(bar).collect();
    figure(&bars, &format!("size, {unit}"), "Bytes of each layer")
}

fn figure(bars: &[Bar], label: &str, subject: &str) -> Element {
    let kept = bars.iter().filter(|bar| bar.kept).count();
    let description = format!(
        "{subject}: {} kept, {} dropped. The table of all layers has the numbers.",
        plural(kept, "layer"),
        bars.len() - kept
    );
    let key =
        |class: &'static str, text: &str| el("li").add(el("span").class(class).attr("aria-hidden", "true")).text(text);
    let mut keys = vec![key("key key-kept", "kept")];
    if kept < bars.len() {
        keys.push(key("key key-hollow", "dropped"));
    }
    el("figure")
        .class("chart")
        .all(bars::draw(bars, label, &description))
        .add(paragraph("readout", bars.first().map_or("", |bar| bar.text.as_str())).attr("aria-live", "polite"))
        .add(el("ul").class("legend").all(keys))
}

fn told(layer: &LayerShare) -> String {
    let norm = layer.norm.map_or(String::new(), |norm| format!(", ‖ΔW‖ {norm:.4}"));
    format!("Layer {}: {}{norm}, {}", layer.layer, fate(layer), bytes(layer.bytes))
}

fn fate(layer: &LayerShare) -> &'static str {
    if layer.kept { "kept" } else { "dropped" }
}

fn table(layers: &[LayerShare]) -> Element {
    let head = el("tr")
        .add(column("number", "layer"))
        .add(column("", "kept or dropped"))
        .add(column("number", "‖ΔW‖"))
        .add(column("number", "size"));
    let row = |layer: &LayerShare| {
        let norm = layer.norm.map_or(el("span").text("—"), words::loss);
        el("tr")
            .class(if layer.kept { "" } else { "faint" })
            .add(el("th").class("number").attr("scope", "row").text(layer.layer))
            .add(el("td").text(fate(layer)))
            .add(el("td").class("number").add(norm))
            .add(el("td").class("number").add(words::bytes(layer.bytes)))
    };
    let table = el("table").add(el("thead").add(head)).add(el("tbody").all(layers.iter().map(row)));
    scrolling("all layers", table)
}
