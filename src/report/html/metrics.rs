//! The scores of generated answers, and a few of the answers side by side.

use super::element::{Element, el};
use super::words;
use super::{Report, column, paragraph, part, scrolling};
use crate::format::percent;
use crate::report::metrics::{BoundaryAnswer, BoundaryScores, ChangedAnswer, MetricScore, SampleSet, TaskMetrics};

pub fn section(report: &Report) -> Option<Element> {
    let metrics = report.metrics.as_ref()?;
    let whole = metrics.boundaries.last()?;
    let table = el("table")
        .add(head(whole))
        .add(el("tbody").all(metrics.boundaries.iter().map(|scores| row(scores, std::ptr::eq(scores, whole)))));
    let section = part("answers", "Generated answers")
        .add(paragraph("", explained(metrics)))
        .add(scrolling("scores of generated answers", table));
    Some(section.all(examples(metrics, whole.boundary)))
}

fn explained(metrics: &TaskMetrics) -> String {
    let on = match metrics.on {
        SampleSet::HeldOut => "that had no part in the choice",
        SampleSet::Choosing => "that chose the boundary, too",
    };
    format!(
        "What the model answers greedily to {} samples {on}, with at most {} tokens, from 0 to 100. Below each score is its \
         difference to the whole adapter’s, in brackets its bounds, each with {} % confidence. No rule looks at this.",
        metrics.samples,
        metrics.max_new_tokens,
        percent(metrics.confidence)
    )
}

fn head(scores: &BoundaryScores) -> Element {
    let names = scores.scores.iter().map(|score| column("number", score.metric.name()));
    let row = el("tr").add(column("number", "bound\u{ad}ary")).all(names).add(column("number", "without end"));
    el("thead").add(row)
}

fn row(scores: &BoundaryScores, is_whole: bool) -> Element {
    let row = if scores.written { el("tr").class("chosen") } else { el("tr") };
    let name = el("th").class("number").attr("scope", "row");
    let note = scores.written.then(|| el("small").text("chosen"));
    let cells = scores.scores.iter().map(|score| cell(score, is_whole));
    row.add(name.all(note).text(format_args!(" {}", scores.name())))
        .all(cells)
        .add(el("td").class("number").text(scores.cut_off))
}

fn cell(score: &MetricScore, is_whole: bool) -> Element {
    let cell =
        el("td").class("number").add(el("data").attr("value", score.score).text(format_args!("{:.1}", score.score)));
    if is_whole {
        return cell;
    }
    let signed = words::points;
    let bounds = score.to_whole.difference_at_least.zip(score.to_whole.difference_at_most);
    let bounds = bounds.map(|(least, most)| format!("({} to {})", signed(least), signed(most)));
    let lines = std::iter::once(signed(score.to_whole.difference)).chain(bounds);
    cell.all(lines.flat_map(|line| [el("br"), el("small").text(line)]))
}

/// The answers that differ, next to one another.
fn examples(metrics: &TaskMetrics, whole: usize) -> Option<Element> {
    if metrics.examples.is_empty() {
        return None;
    }
    let items = metrics.examples.iter().map(|example| item(example, whole));
    Some(el("div").add(el("h3").text("Answers that change")).add(el("ol").class("samples").all(items)))
}

fn item(example: &ChangedAnswer, whole: usize) -> Element {
    let prompt = example.prompt.as_deref().filter(|prompt| !prompt.is_empty());
    let named = |name: String, text: &str| {
        el("p").class("answer").add(el("small").text(format_args!("{name}: "))).add(el("bdi").text(text))
    };
    let name = |answer: &BoundaryAnswer| match answer.boundary {
        boundary if answer.written => format!("boundary {boundary}, chosen"),
        0 => "base model".to_string(),
        boundary if boundary == whole => "whole adapter".into(),
        boundary => format!("boundary {boundary}"),
    };
    el("li")
        .add(el("p").class("numbers").add(el("span").class("place").text(format_args!("line {}", example.line))))
        .all(prompt.map(|prompt| el("p").class("prompt").add(el("bdi").text(prompt))))
        .add(named("reference".into(), &example.reference))
        .all(example.answers.iter().map(|answer| named(name(answer), &answer.text)))
}
