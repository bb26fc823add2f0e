//! What went in: enough to run it again and to know that it was the same.

use super::element::{Element, el};
use super::words::{self, count, plural};
use super::{Report, part};
use crate::format::ranges;
use crate::report::{AdapterInput, BaseInput, InputFile, ReportedOptions, SamplesInput};

/// A name and what it stands for.
type Fact = (&'static str, Element);

pub fn section(report: &Report) -> Option<Element> {
    let tool = (report.tool.name, report.tool.version);
    let mut blocks = vec![block("Adapter", adapter(&report.adapter), &report.adapter.files)];
    blocks.extend(report.base.as_ref().map(|input| block("Base model", base(input), &input.files)));
    blocks.extend(report.samples.as_ref().map(|input| block("Samples", samples(input), &[])));
    blocks.extend(report.options.as_ref().map(|given| block("Options", options(given), &[])));
    let made =
        el("p").class("made").text(format_args!("Made by {} {}. The same run gives the same page.", tool.0, tool.1));
    Some(part("inputs", "What went in").add(el("div").class("groups").all(blocks)).add(made))
}

fn block(heading: &str, facts: Vec<Fact>, files: &[InputFile]) -> Element {
    let fact = |(name, value): Fact| el("div").add(el("dt").text(name)).add(el("dd").add(value));
    let list = el("dl").class("facts").all(facts.into_iter().map(fact)).all(files.iter().map(file));
    el("div").add(el("h3").text(heading)).add(list)
}

fn file(file: &InputFile) -> Element {
    let hash = file.sha256.as_ref().map(|hash| el("dd").class("hash").text(format_args!("sha256 {hash}")));
    let size = el("dd").add(words::bytes(file.bytes));
    el("div").class("file").add(el("dt").add(el("bdi").text(&file.name))).add(size).all(hash)
}

fn adapter(input: &AdapterInput) -> Vec<Fact> {
    let mut facts = vec![("path", path(&input.path))];
    facts.extend(input.rank.map(|rank| ("rank", plain(rank))));
    facts.extend(input.alpha.map(|alpha| ("alpha", plain(alpha))));
    let layers = format!("{} ({})", ranges(&input.layers).replace('-', "–"), plural(input.layers.len(), "layer"));
    facts.push(("layers", plain(layers)));
    facts
}

fn base(input: &BaseInput) -> Vec<Fact> {
    vec![
        ("path", path(&input.path)),
        ("family", plain(&input.family)),
        ("layers", plain(input.layers)),
        ("arithmetic", plain(&input.arithmetic)),
    ]
}

fn samples(input: &SamplesInput) -> Vec<Fact> {
    let tokens = format!("{}, {} of them scored", count(input.tokens as u64), count(input.answer_tokens as u64));
    let mut facts =
        vec![("path", path(&input.path)), ("samples", plain(count(input.count as u64))), ("tokens", plain(tokens))];
    if input.truncated > 0 {
        facts.push(("cut at the context", plain(input.truncated)));
    }
    facts.push(("chat template", plain(if input.chat { "yes" } else { "no" })));
    facts.extend(input.tokenizer.as_ref().map(|tokenizer| ("tokenizer", path(tokenizer))));
    facts.push(("sha256", el("span").class("hash").text(&input.sha256)));
    facts
}

fn options(given: &ReportedOptions) -> Vec<Fact> {
    let mut facts = vec![
        ("rule", plain(given.rule.name())),
        ("margin", plain(format_args!("{} % of the gain", given.margin * 100.0))),
        ("confidence", plain(format_args!("{} %, one-sided", given.confidence * 100.0))),
    ];
    facts.extend(given.max_layers.map(|most| ("at most", plain(plural(most, "layer")))));
    facts.extend(given.max_bytes.map(|most| ("at most", words::bytes(most))));
    facts
}

fn plain(value: impl std::fmt::Display) -> Element {
    el("span").text(value)
}

fn path(path: &str) -> Element {
    el("bdi").class("path").text(path)
}
