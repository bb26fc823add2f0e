//! What else could have been done with the adapter: less of it everywhere, or other layers.

use super::element::{Element, el};
use super::words;
use super::{Report, column, paragraph, part, scrolling};
use crate::format::{bytes, ranges};
use crate::report::Alternative;
use crate::report::text::alternatives::finding;

pub fn section(report: &Report) -> Option<Element> {
    let held_out = report.alternatives.first()?.held_out.is_some();
    let explained = "Is it these layers, or only less of the adapter? Each row is some of its layers at some strength. It is \
                     better than what is written if that is sure on samples, and on those held out if there are any.";
    let mut section = part("alternatives", "What else could have been done").add(paragraph("", explained));
    if let Some(finding) = finding(&report.alternatives) {
        section = section.add(paragraph("note", format_args!("{finding}.")));
    }
    let mut head = el("tr").all([column("", ""), column("number", "loss")]);
    if held_out {
        head = head.add(column("number", "held out"));
    }
    head = head.all([column("number", "answers right"), column("number", "size"), column("", "layers")]);
    let rows = report.alternatives.iter().map(row);
    let table = el("table").add(el("thead").add(head)).add(el("tbody").all(rows));
    Some(section.add(scrolling("alternatives", table)))
}

fn row(alternative: &Alternative) -> Element {
    let note = match (alternative.written, alternative.wins()) {
        (true, _) => " (written)",
        (_, true) => " (better)",
        _ => "",
    };
    let name = format!("{}{note}", alternative.name());
    let number = |value: Element| el("td").class("number").add(value);
    let mut row = el("tr")
        .class(if alternative.written { "chosen" } else { "" })
        .add(el("th").attr("scope", "row").text(name))
        .add(number(words::loss(alternative.samples.loss)));
    let measured = alternative.held_out.as_ref().unwrap_or(&alternative.samples);
    if alternative.held_out.is_some() {
        row = row.add(number(words::loss(measured.loss)));
    }
    row.add(number(words::percent(measured.exact_match)))
        .add(el("td").class("number").text(bytes(alternative.bytes)))
        .add(el("td").text(ranges(&alternative.layers)))
}
