//! The answer, in plain words and a few figures.

use super::element::{Element, el};
use super::words::{self, plural};
use super::{Report, paragraph};
use crate::choice::{Choice, Rule};
use crate::format;
use crate::format::ranges;
use crate::report::Output;
use crate::report::text::subset::removed_parts;

/// The answer in a few words.
pub fn headline(report: &Report) -> String {
    let all = report.adapter.layers.len();
    match (&report.chosen, &report.output) {
        (Some(choice), _) if choice.boundary == 0 => "The adapter does not help on these samples".into(),
        (_, Some(output)) if output.kept_layers.len() == all => match all {
            1 => "The only layer is kept".into(),
            _ => format!("All {all} layers are kept"),
        },
        (_, Some(output)) => {
            let kept = output.kept_layers.len();
            let verb = if kept == 1 { "is" } else { "are" };
            format!("{kept} of {} {verb} kept", plural(all, "layer"))
        }
        _ => "No boundary was chosen".into(),
    }
}

pub fn section(report: &Report) -> Option<Element> {
    let path = el("p").class("path").add(el("bdi").text(&report.adapter.path));
    let section = el("section").attr("id", "summary").add(path).add(el("h1").text(headline(report)));
    let Some(choice) = &report.chosen else { return Some(section) };
    let section = section
        .add(paragraph("lead", meaning(report, choice)))
        .add(el("dl").class("figures").all(figures(report, choice)))
        .add(paragraph("reason", format!("Why boundary {}: {}.", choice.boundary, choice.reason)));
    let section = match report.subset.as_ref().filter(|subset| !subset.removed.is_empty()) {
        Some(subset) => {
            section.add(paragraph("reason", format!("Without it, too: {}.", removed_parts(&subset.removed))))
        }
        None => section,
    };
    let section = match &report.scale {
        Some(scale) => {
            section.add(paragraph("reason", format!("Scale {}: {}.", format::scale(scale.scale), scale.reason)))
        }
        None => section,
    };
    Some(section.all(caution(choice).map(|text| paragraph("note", text))))
}

/// What the choice means for whoever uses the adapter.
fn meaning(report: &Report, choice: &Choice) -> String {
    let Some(output) = &report.output else {
        let found = match choice.rule {
            Rule::Best => "No boundary has a lower loss than the base model without the adapter.",
            _ => "The base model without the adapter is, with confidence, no worse than the whole adapter.",
        };
        return format!("{found} Do the samples fit the adapter's task and format?");
    };
    let dropped: Vec<usize> =
        report.adapter.layers.iter().copied().filter(|layer| !output.kept_layers.contains(layer)).collect();
    if report.changes_nothing() {
        return "Every layer of the adapter stays; there is nothing to drop.".into();
    }
    let (loss, _) = written(report, choice);
    let whole = report.curve.last().map_or(loss, |point| point.loss);
    let against = if loss < whole { "lower than" } else { "above" };
    let compared = if loss == whole {
        "On the samples its loss is that of the whole adapter.".to_string()
    } else {
        format!(
            "On the samples its loss is {:.4} nats per answer token {against} the whole adapter's.",
            (loss - whole).abs()
        )
    };
    if dropped.is_empty() {
        return format!("Every layer of the adapter stays, but not as it was. {compared}");
    }
    format!("The adapter stays in {} and is dropped from {}. {compared}", layers(&output.kept_layers), layers(&dropped))
}

/// The loss and the gain kept of what is written: after the last of all that was done beside the cut at a boundary.
fn written(report: &Report, choice: &Choice) -> (f64, Option<f64>) {
    let step = report.steps.last().and_then(|step| step.losses.as_ref());
    let scale = report.scale.as_ref();
    let step = step.map(|step| (step.loss, step.gain_kept)).or(scale.map(|scale| (scale.loss, scale.gain_kept)));
    let subset = report.subset.as_ref().map(|subset| (subset.loss, subset.gain_kept));
    step.or(subset).unwrap_or((choice.loss, choice.gain_kept))
}

fn layers(layers: &[usize]) -> String {
    let noun = if layers.len() == 1 { "layer" } else { "layers" };
    format!("{noun} {}", ranges(layers).replace('-', "–"))
}

fn figures(report: &Report, choice: &Choice) -> Vec<Element> {
    let mut figures = Vec::new();
    let (loss, gain_kept) = written(report, choice);
    if let Some(output) = &report.output {
        figures.push(figure("Size", sizes(output), &size_note(output)));
    }
    if let (Some(base), Some(whole)) = (report.curve.first(), report.curve.last()) {
        let note = format!("base\u{a0}model\u{a0}{:.4}, whole\u{a0}adapter\u{a0}{:.4}", base.loss, whole.loss);
        figures.push(figure("Loss, nats per answer token", el("span").add(words::loss(loss)), &note));
    }
    let (gain, note) = match gain_kept {
        Some(gain) if gain > 1.0 => {
            (words::percent(gain), "of what the whole adapter gains over the base model: more than all of it")
        }
        Some(gain) => (words::percent(gain), "of what the whole adapter gains over the base model"),
        None => (el("span").text("—"), "the whole adapter gains nothing over the base model"),
    };
    figures.push(figure("Gain kept", gain, note));
    figures
}

fn figure(name: &str, value: Element, note: &str) -> Element {
    el("div").add(el("dt").text(name)).add(el("dd").class("value").add(value)).add(el("dd").text(note))
}

fn sizes(output: &Output) -> Element {
    let (before, after) = (words::bytes(output.bytes_before), words::bytes(output.bytes_after));
    if output.bytes_before == output.bytes_after {
        return after;
    }
    el("span").add(before).text(" → ").add(after)
}

fn size_note(output: &Output) -> String {
    let saved = 100.0 * (1.0 - output.bytes_after as f64 / output.bytes_before.max(1) as f64);
    let tensors = format!("{} of {} tensors", output.tensors_after, output.tensors_before);
    if output.bytes_after == output.bytes_before { tensors } else { format!("{saved:.0} % less, {tensors}") }
}

/// What the figures do not say by themselves.
fn caution(choice: &Choice) -> Option<&'static str> {
    (choice.rule == Rule::Best && choice.boundary > 0).then_some(
        "This loss was measured on the samples that chose the boundary, so it flatters the choice a little. Check it on \
         samples that it has not seen.",
    )
}
