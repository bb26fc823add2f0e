//! Every boundary in numbers, those that a part of the samples decided in their places.

use super::element::{Element, el};
use super::words::{self, plural};
use super::{Report, column, paragraph, part, scrolling};
use crate::format::percent;
use crate::report::{CurvePoint, DroppedPoint};

pub fn section(report: &Report) -> Option<Element> {
    if report.curve.is_empty() {
        return None;
    }
    let confidence = report.options.as_ref().map_or(0.95, |options| options.confidence);
    let explained = format!(
        "Losses in nats per answer token. The difference is to the whole adapter, paired over samples; with {} % confidence \
         it is at most what stands beside it.",
        percent(confidence)
    );
    let table = el("table").add(el("thead").add(head())).add(el("tbody").all(rows(report)));
    Some(part("boundaries", "All boundaries").add(paragraph("", explained)).add(scrolling("all boundaries", table)))
}

fn head() -> Element {
    // With places to part long words on narrow screens.
    ["bound\u{ad}ary", "loss", "gain kept", "differ\u{ad}ence", "at most", "size"]
        .into_iter()
        .fold(el("tr"), |row, name| row.add(column("number", name)))
}

fn rows(report: &Report) -> Vec<Element> {
    let chosen = report.chosen.as_ref().map(|choice| choice.boundary);
    let lowest = report.curve.iter().map(|point| point.loss).fold(f64::INFINITY, f64::min);
    let measured = report.curve.iter().map(|point| (point.boundary, measured(point, chosen, lowest)));
    let decided = runs(&report.dropped).map(|run| (run[0].boundary, decided(run)));
    let mut rows: Vec<(usize, Element)> = measured.chain(decided).collect();
    rows.sort_by_key(|(boundary, _)| *boundary);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Points of which the same is to be said: neighbours that were not evaluated.
fn runs(dropped: &[DroppedPoint]) -> impl Iterator<Item = &[DroppedPoint]> {
    let same = |a: &DroppedPoint, b: &DroppedPoint| {
        a.difference.is_none() && b.difference.is_none() && a.holds == b.holds && a.boundary + 1 == b.boundary
    };
    dropped.chunk_by(same)
}

fn measured(point: &CurvePoint, chosen: Option<usize>, lowest: f64) -> Element {
    let is_chosen = Some(point.boundary) == chosen;
    let optional = |value: Option<f64>, show: fn(f64) -> Element| value.map_or(el("span").text("—"), show);
    let cell = |content: Element| el("td").class("number").add(content);
    let row = if is_chosen { el("tr").class("chosen") } else { el("tr") };
    let note = match is_chosen {
        true => "chosen",
        false if point.loss == lowest => "lowest",
        false => "",
    };
    row.add(name(point.boundary, note))
        .add(cell(words::loss(point.loss)))
        .add(cell(optional(point.gain_kept, words::percent)))
        .add(cell(words::signed(point.difference)))
        .add(cell(optional(point.difference_at_most, words::signed)))
        .add(cell(words::bytes(point.bytes)))
}

/// Boundaries that have no loss: at most the difference on the samples that they have seen.
fn decided(run: &[DroppedPoint]) -> Element {
    let row = el("tr").class("faint");
    let words_over = |columns: usize, text: String| el("td").attr("colspan", columns).text(text);
    let verdict = words::verdict(&run[0]);
    match run {
        [DroppedPoint { boundary, samples, difference: Some(difference), .. }] => row
            .add(name(boundary, ""))
            .add(words_over(2, format!("{verdict} on {}", plural(*samples, "sample"))))
            .add(el("td").class("number").add(words::signed(*difference)))
            .add(words_over(2, String::new())),
        [one] => {
            row.add(name(one.boundary, "")).add(words_over(5, format!("not evaluated, {verdict} by its neighbours")))
        }
        _ => {
            let (first, last) = (run[0].boundary, run[run.len() - 1].boundary);
            let text = format!("not evaluated, {verdict} by their neighbours");
            row.add(name(format_args!("{first}–{last}"), "")).add(words_over(5, text))
        }
    }
}

fn name(boundary: impl std::fmt::Display, note: &'static str) -> Element {
    let note = (!note.is_empty()).then(|| el("small").text(note));
    el("th").class("number").attr("scope", "row").all(note).text(format_args!(" {boundary}"))
}
