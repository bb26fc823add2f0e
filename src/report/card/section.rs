//! The section of a card, as Markdown. Text from files and flags stands in code, or without characters that Markdown or HTML would read.

use std::fmt::Write;

use crate::audit::runtimes::LoadOutcome;
use crate::choice::Assessment;
use crate::choice::held_out::SampleSet;
use crate::format::{bytes, percent, percent_text, plural, ranges};
use crate::printable::{self, OneLine};
use crate::report::metrics::{BoundaryScores, TaskMetrics};
use crate::report::text::held_out::finding;
use crate::report::{Report, SamplesInput, Tool, Written};

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
const PAPER: &str = "https://arxiv.org/abs/2503.23360";

/// What the card says, in its order. A part that has nothing to say is empty.
const PARTS: &[fn(&Report) -> String] = &[warnings, sizes, losses, scores, runtimes, made_from, command];

/// The section, without its marks.
pub fn section(report: &Report, base: Option<&str>) -> String {
    let of_base = base.map_or(String::new(), |base| format!(" for {}", code(base)));
    let (source, version) = (code(&report.adapter.path), Tool::THIS.version);
    let is_smaller = report.output.as_ref().is_some_and(|output| output.bytes_after < output.bytes_before);
    let (heading, how) = match (is_smaller, report.samples.is_some()) {
        (true, true) => ("Made smaller", "keeps what a few samples show to be needed of"),
        (true, false) => ("Made smaller", "keeps a part of"),
        (false, _) => ("Written", "is made of"),
    };
    let mut text = format!(
        "## {heading} by lora-slim\n\nThis adapter{of_base} {how} {source}. {} {version} wrote it, without training.\n\n",
        link("lora-slim", REPOSITORY)
    );
    PARTS.iter().for_each(|part| text += &part(report));
    let _ = writeln!(text, "The figures are in `slim_report.json`. The idea comes from {}.", link(TITLE, PAPER));
    text
}

const TITLE: &str = "Not All LoRA Parameters Are Essential: Insights on Inference Necessity";

fn link(text: &str, address: &str) -> String {
    if address.is_empty() { text.into() } else { format!("[{text}]({address})") }
}

fn warnings(report: &Report) -> String {
    let line = |warning: &crate::report::Warning| {
        format!("> **Warning:** {} (`{}`)\n", prose(&warning.sentence), warning.code)
    };
    let lines: Vec<String> = report.warnings.iter().map(line).collect();
    if lines.is_empty() { String::new() } else { lines.join(">\n") + "\n" }
}

fn sizes(report: &Report) -> String {
    let Some(output) = &report.output else { return String::new() };
    let share = 100.0 * output.bytes_after as f64 / output.bytes_before.max(1) as f64;
    let mut text = format!(
        "| | source | this adapter |\n|---|--:|--:|\n| weights | {} | {} ({share:.1} %) |\n| tensors | {} | {} |\n| layers{} | {} | {} |\n",
        bytes(output.bytes_before),
        bytes(output.bytes_after),
        output.tensors_before,
        output.tensors_after,
        output.stacks.as_ref().map_or(String::new(), |stacks| format!(" of {}", cell(&stacks.cut))),
        ranges(&report.adapter.layers),
        ranges(&output.kept_layers),
    );
    if let Some(minimized) = &report.minimized {
        for kept in minimized.kept.iter().filter(|kept| kept.kept < kept.modules || kept.ranks < kept.ranks_before) {
            let name = cell(&kept.name);
            let (before, after) = (plural(kept.modules, "module"), plural(kept.kept, "module"));
            let _ =
                writeln!(text, "| {name} | {before}, {} ranks | {after}, {} ranks |", kept.ranks_before, kept.ranks);
        }
    }
    for step in report.steps.iter().filter(|step| step.step != "layers") {
        let setting = step.setting.as_ref().map_or(String::new(), |setting| format!(" {}", cell(setting)));
        let _ = writeln!(text, "| step | | {}{setting} |", step.step);
    }
    if let Some(scale) = &report.scale {
        let _ = writeln!(text, "| scale | 1 | {} |", scale.scale);
    }
    text + "\n"
}

/// The base model, the whole adapter and this one on the same samples.
fn losses(report: &Report) -> String {
    let choosing = report.written_on_choosing().zip(report.samples.as_ref());
    let choosing = choosing.map(|(written, samples)| {
        let base = report.curve.first().map(|base| base.assessed.assessment);
        figures(report, &Measured { samples, role: "that chose", base, written })
    });
    let held_out = report.held_out.as_ref().zip(report.written()).map(|(held_out, written)| {
        let (samples, base) = (&held_out.samples, Some(held_out.verdict.base.assessment));
        let verdict = prose(&finding(&held_out.verdict, report));
        let table = figures(report, &Measured { samples, role: "that had no part in the choice", base, written });
        format!("{table}The check on these samples: {verdict}.\n\n")
    });
    choosing.into_iter().chain(held_out).collect()
}

/// The base model, the whole adapter and what is written, on the same samples.
struct Measured<'a> {
    samples: &'a SamplesInput,
    /// What the samples were for.
    role: &'a str,
    base: Option<Assessment>,
    written: Written,
}

fn figures(report: &Report, measured: &Measured) -> String {
    let Measured { samples, role, base, written: Written { whole, assessment: written, .. } } = measured;
    let count = plural(samples.count, "sample");
    let mut text = format!("| on {count} {role} | base model | source | this adapter |\n|---|--:|--:|--:|\n");
    let mut row = |name: &str, figure: &dyn Fn(&Assessment) -> String| {
        let base = base.as_ref().map_or(String::new(), figure);
        let _ = writeln!(text, "| {name} | {base} | {} | {} |", figure(whole), figure(written));
    };
    row("loss, nats per token", &|one| format!("{:.4}", one.loss));
    row("probability of a true token", &|one| percent_text(one.token_probability));
    row("tokens that greedy decoding gets right", &|one| percent_text(one.token_accuracy));
    row("answers that it gets right", &|one| percent_text(one.exact_match));
    text.push('\n');
    let confidence = report.options.as_ref().map(|options| percent(options.confidence));
    if let (Some(confidence), Some(most)) = (confidence, written.difference_at_most) {
        let least = written.probability_difference_at_least.unwrap_or_default();
        let _ = writeln!(
            text,
            "The loss differs from the source's by {:+.4} (with {confidence} % confidence by at most {most:+.4}), the probability of a true \
             token by {:+.2} points (at least {:+.2}).\n",
            written.difference,
            100.0 * written.probability_difference,
            100.0 * least,
        );
    }
    text
}

/// The scores of generated answers.
fn scores(report: &Report) -> String {
    report.choosing_metrics.iter().chain(&report.metrics).filter_map(table_of_scores).collect()
}

fn table_of_scores(metrics: &TaskMetrics) -> Option<String> {
    let (base, whole, written) = (metrics.boundaries.first()?, metrics.boundaries.last()?, metrics.written()?);
    let role = match metrics.on {
        SampleSet::HeldOut => "that had no part in the choice",
        SampleSet::Choosing => "that chose",
    };
    let count = plural(metrics.samples, "sample");
    let mut text = format!("| answers to {count} {role} | base model | source | this adapter |\n|---|--:|--:|--:|\n");
    for (place, score) in written.scores.iter().enumerate() {
        let of =
            |row: &BoundaryScores| row.scores.get(place).map_or(String::new(), |score| format!("{:.1}", score.score));
        let least = score.to_whole.difference_at_least;
        let bound = least.map_or(String::new(), |least| {
            format!(
                " ({:+.1}, {} % sure of {least:+.1} or more)",
                score.to_whole.difference,
                percent(metrics.confidence)
            )
        });
        let _ =
            writeln!(text, "| {} | {} | {} | {}{bound} |", cell(score.metric.name()), of(base), of(whole), of(written));
    }
    Some(text + "\n")
}

/// Which runtimes load it, and the options of servers with buffers.
fn runtimes(report: &Report) -> String {
    let with = |outcome: LoadOutcome| -> Vec<String> {
        let those = report.runtimes.iter().filter(|runtime| runtime.verdict == outcome);
        those.map(|runtime| format!("{} {}", runtime.name, runtime.version)).collect()
    };
    let mut text = String::new();
    for (outcome, words) in [
        (LoadOutcome::Loads, "Loads in"),
        (LoadOutcome::Differs, "Computes something else in"),
        (LoadOutcome::Refuses, "Is refused by"),
    ] {
        let names = with(outcome);
        if !names.is_empty() {
            let _ = writeln!(text, "- {words} {}", names.join(", "));
        }
    }
    for slot in &report.serving {
        let (needs, unlimited) = (bytes(slot.bytes), bytes(slot.unlimited_bytes));
        let _ = writeln!(
            text,
            "- {} needs {needs} per adapter slot with {}, {unlimited} without",
            slot.runtime,
            code(&slot.flags)
        );
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn made_from(report: &Report) -> String {
    let mut text = String::new();
    for file in &report.adapter.files {
        let hash = file.blake3.as_ref().map_or(String::new(), |hash| format!(", BLAKE3 `{hash}`"));
        let _ = writeln!(text, "- Source {}: {}{hash}", code(&file.name), bytes(file.bytes));
    }
    if let Some(base) = &report.base {
        let quantised = base.quantisation.as_ref().map_or(String::new(), |how| format!(", {}", prose(how)));
        let _ =
            writeln!(text, "- Base model that measured: {}{quantised}, {}", code(&base.path), prose(&base.arithmetic));
    }
    let held_out = report.held_out.as_ref().map(|held_out| ("Held-out samples", &held_out.samples));
    for (name, samples) in report.samples.iter().map(|samples| ("Samples", samples)).chain(held_out) {
        let _ = writeln!(
            text,
            "- {name} {}: {}, {} of {} tokens scored, SHA-256 `{}`",
            code(&samples.path),
            samples.count,
            samples.answer_tokens,
            samples.tokens,
            samples.sha256
        );
    }
    text + "\n"
}

fn command(report: &Report) -> String {
    let block = |command: &String| {
        let command = OneLine(command).to_string().replace("```", "` ` `").replace("<!--", "< !--");
        format!("```sh\n{command} -o OUT\n```\n\n")
    };
    let together = report.minimized.as_ref().and_then(|minimized| minimized.adapters);
    let together =
        together.map(|count| format!("`lora-slim batch --common` chose it for {count} adapters together.\n\n"));
    report.command.as_ref().map(block).or(together).unwrap_or_default()
}

/// Text as code.
fn code(text: &str) -> String {
    format!("`{}`", printable::message(text).replace('`', "'").replace("<!--", "< !--"))
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A sentence of ours, which may name what files hold.
fn prose(text: &str) -> String {
    printable::message(text).replace('&', "&amp;").replace('<', "&lt;").replace('|', "&#124;")
}
