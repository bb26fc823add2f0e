//! What each step after the cut made of the adapter: its size, and what it costs.

use super::element::{Element, el};
use super::words;
use super::{Report, column, paragraph, part, scrolling};
use crate::report::text::steps::{name, ranks};
use crate::report::{StepDone, StepLosses};

pub fn section(report: &Report) -> Option<Element> {
    let reduced = report.steps.iter().rev().find(|step| step.step == "rank");
    report.steps.first()?;
    let explained = "Each step reads what the one before wrote. Its losses are those of what it wrote, rounding included, against \
                     the whole adapter as it came; its change is ‖ΔW − ΔW'‖ / ‖ΔW‖, against the adapter after the cut.";
    let mut section =
        part("steps", "Step by step")
            .add(paragraph("", explained))
            .add(table("steps", &report.steps, |step| step.losses.as_ref()));
    if report.steps.iter().any(|step| step.held_out.is_some()) {
        section = section.add(paragraph("", "On samples that had no part in the choice:")).add(table(
            "steps on held-out samples",
            &report.steps,
            |step| step.held_out.as_ref(),
        ));
    }
    if let Some(step) = reduced.filter(|step| !step.ranks.is_empty()) {
        let ranks = step.ranks.iter().map(ranks).collect::<Vec<_>>().join(", ");
        section = section.add(paragraph("", format_args!("Ranks that are left: {ranks}.")));
    }
    Some(section)
}

fn table(label: &'static str, steps: &[StepDone], losses: impl Fn(&StepDone) -> Option<&StepLosses>) -> Element {
    let head = ["size", "change", "loss", "gain kept", "differ\u{ad}ence", "at most", "tokens right", "answers right"]
        .into_iter()
        .fold(el("tr").add(column("", "step")), |row, name| row.add(column("number", name)));
    let row = |step: &StepDone| {
        let optional = |value: Option<f64>, show: fn(f64) -> Element| value.map_or(el("span").text("—"), show);
        let losses = losses(step);
        let of = |value: fn(&StepLosses) -> Option<f64>| losses.and_then(value);
        let cells = [
            words::bytes(step.bytes),
            optional(step.change.as_ref().map(|change| change.relative), words::percent),
            optional(of(|losses| Some(losses.loss)), words::loss),
            optional(of(|losses| losses.gain_kept), words::percent),
            optional(of(|losses| Some(losses.difference)), words::signed),
            optional(of(|losses| losses.difference_at_most), words::signed),
            optional(of(|losses| Some(losses.token_accuracy)), words::percent),
            optional(of(|losses| Some(losses.exact_match)), words::percent),
        ];
        let name = el("th").attr("scope", "row").text(name(step));
        el("tr").add(name).all(cells.into_iter().map(|cell| el("td").class("number").add(cell)))
    };
    scrolling(label, el("table").add(el("thead").add(head)).add(el("tbody").all(steps.iter().map(row))))
}
