//! The report as one HTML page that needs nothing else: no network, no font, no script to be read.
//!
//! The page shows what the [`Report`] holds, part by part: a further part is a function in `SECTIONS`. All text goes
//! through `element`, which escapes it; the page allows itself no request and no script but its own.

mod alternatives;
mod bars;
mod boundaries;
mod curve;
mod element;
mod gates;
pub mod index;
mod inputs;
mod layers;
mod metrics;
mod policy;
mod probability;
mod samples;
mod scale;
mod steps;
mod summary;
mod svg;
mod trust;
mod words;
mod work;

use element::{Element, el};

use super::{Report, Tool};

/// What every page begins with; `--force` replaces only files that do.
pub const BEGINNING: &str = "<!doctype html><!-- lora-slim report -->";

/// The parts of the page in their order. Each is left out where the report has nothing for it.
const SECTIONS: &[fn(&Report) -> Option<Element>] = &[
    summary::section,
    gates::section,
    curve::section,
    probability::section,
    trust::section,
    alternatives::section,
    steps::section,
    metrics::section,
    layers::section,
    samples::section,
    boundaries::section,
    work::section,
    inputs::section,
];

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub fn page(report: &Report) -> String {
    let sections = el("main").all(SECTIONS.iter().filter_map(|section| section(report)));
    format!("{BEGINNING}\n{}\n", document(&summary::headline(report), STYLE, SCRIPT, sections))
}

/// A document with one style and one script, which it allows itself.
fn document(headline: &str, style: &'static str, script: &'static str, main: Element) -> Element {
    let tool = Tool::THIS;
    let meta = |name: &'static str, content: &str| el("meta").attr("name", name).attr("content", content);
    let head = el("head")
        .add(el("meta").attr("charset", "utf-8"))
        .add(el("meta").attr("http-equiv", "Content-Security-Policy").attr("content", policy::policy(style, script)))
        .add(meta("viewport", "width=device-width, initial-scale=1"))
        .add(meta("color-scheme", "light dark"))
        .add(meta("generator", &format!("{} {}", tool.name, tool.version)))
        .add(el("title").text(format!("{headline} – lora-slim")))
        .add(el("style").code(style));
    let body = el("body").add(main).add(el("script").code(script));
    el("html").attr("lang", "en").add(head).add(body)
}

/// A part of the page under its heading.
fn part(id: &'static str, heading: &str) -> Element {
    el("section").attr("id", id).add(el("h2").text(heading))
}

fn paragraph(class: &'static str, text: impl std::fmt::Display) -> Element {
    el("p").class(class).text(text)
}

/// A table that scrolls by itself where the screen is too narrow for it.
fn scrolling(label: &'static str, table: Element) -> Element {
    el("div").class("scroll").attr("role", "region").attr("aria-label", label).attr("tabindex", 0).add(table)
}

/// The heading of a table's column; `number` for columns that are aligned to the right.
fn column(class: &'static str, text: &str) -> Element {
    el("th").attr("scope", "col").class(class).text(text)
}
