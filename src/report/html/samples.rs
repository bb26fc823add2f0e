//! The samples that the choice makes worse and better most.

use super::element::{Element, el};
use super::words::{self, plural};
use super::{Report, paragraph, part};
use crate::report::ChangedSample;

pub fn section(report: &Report) -> Option<Element> {
    let (worse, better): (Vec<_>, Vec<_>) = report.changed.iter().partition(|sample| sample.difference > 0.0);
    if report.changed.is_empty() {
        return None;
    }
    let explained = "Loss of single samples with the whole adapter and at the chosen boundary, in nats per answer token. A \
                     few samples tell what changes, not how much is won or lost in all.";
    let groups = el("div")
        .class("groups")
        .all(group("Worse without the dropped layers", worse.into_iter()))
        .all(group("Better without them", better.into_iter().rev()));
    Some(part("samples", "Samples that change most").add(paragraph("", explained)).add(groups))
}

/// Samples of one kind, those that change most first; nothing where there are none.
fn group<'a>(heading: &str, samples: impl Iterator<Item = &'a ChangedSample>) -> Option<Element> {
    let items: Vec<Element> = samples.map(item).collect();
    (!items.is_empty()).then(|| el("div").add(el("h3").text(heading)).add(el("ol").class("samples").all(items)))
}

fn item(sample: &ChangedSample) -> Element {
    let losses = el("span").add(words::loss(sample.whole)).text(" → ").add(words::loss(sample.chosen));
    let numbers = el("p").class("numbers").add(losses).add(el("strong").add(words::signed(sample.difference)));
    let place = format!("line {}, {}", sample.line, plural(sample.answer_tokens, "answer token"));
    el("li")
        .add(numbers.add(el("span").class("place").text(place)))
        .all(text("prompt", sample.prompt.as_deref()))
        .all(text("answer", sample.answer.as_deref()))
}

/// Words of a sample, apart from the direction of what surrounds them.
fn text(class: &'static str, text: Option<&str>) -> Option<Element> {
    text.filter(|text| !text.is_empty()).map(|text| el("p").class(class).add(el("bdi").text(text)))
}
