//! Which runtimes load an adapter, and why others do not, as a table.

use std::fmt::Write;

use crate::adapter::export::Format;
use crate::runtimes::{Outcome, RUNTIMES, Verdict};

/// The widest line.
const WIDTH: usize = 100;
/// Where reasons begin: behind the name and the verdict.
const INDENT: usize = 26;

/// The answer of `check`: what is wrong with the adapter itself, then a row for each runtime.
pub fn checked(format: Format, flaws: &[(bool, &str)], runtimes: &[Verdict]) -> String {
    let mut text = String::new();
    for (is_certain, flaw) in flaws {
        let head = if *is_certain { "wrong  " } else { "unusual  " };
        text += &hanging(head, head.len(), flaw);
    }
    if format != Format::Peft {
        let _ = writeln!(text, "{format}: only its form is looked at");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    for runtime in runtimes {
        text += &row(runtime);
    }
    text
}

fn row(runtime: &Verdict) -> String {
    let head = format!("{:<16}{:<10}", runtime.name, runtime.verdict.to_string());
    let mut text = String::new();
    for (place, reason) in runtime.reasons.iter().enumerate() {
        let head = if place == 0 { head.clone() } else { " ".repeat(INDENT) };
        let remedy = reason.remedy.as_ref().map_or(String::new(), |remedy| format!(" → {remedy}"));
        text += &hanging(&head, INDENT, &format!("{}{remedy}", reason.what));
    }
    if text.is_empty() { format!("{}\n", head.trim_end()) } else { text }
}

/// A paragraph behind `head`, whose further lines begin at `indent`.
fn hanging(head: &str, indent: usize, paragraph: &str) -> String {
    let (mut text, mut line) = (String::new(), head.to_string());
    let mut is_empty = true;
    for word in paragraph.split_whitespace() {
        let space = if is_empty { "" } else { " " };
        if !is_empty && line.chars().count() + space.len() + word.chars().count() > WIDTH {
            text += &format!("{line}\n");
            line = " ".repeat(indent) + word;
        } else {
            line = line + space + word;
        }
        is_empty = false;
    }
    text + &line + "\n"
}

/// Which runtimes load what was written, in a few lines; nothing where that was not asked.
pub fn written(runtimes: &[Verdict], output: &str) -> String {
    let with = |outcome: Outcome| -> Vec<String> {
        let those = runtimes.iter().filter(|runtime| runtime.verdict == outcome);
        those.map(|runtime| format!("{}{}", runtime.name, option(runtime))).collect()
    };
    let line = |head: &str, names: Vec<String>| match names.is_empty() {
        true => String::new(),
        false => hanging(head, 4, &names.join(", ")),
    };
    let (loads, differs, refuses) = (with(Outcome::Loads), with(Outcome::Differs), with(Outcome::Refuses));
    let more = if differs.len() + refuses.len() == 0 {
        String::new()
    } else {
        format!("`lora-slim check {output}` says why\n")
    };
    line("loads in ", loads) + &line("computes something else in ", differs) + &line("is refused by ", refuses) + &more
}

/// The options of lora-slim that mend all that is worse than a condition, if they do.
fn option(runtime: &Verdict) -> String {
    let mut options: Vec<&str> = Vec::new();
    for reason in runtime.reasons.iter().filter(|reason| reason.outcome != Outcome::Loads) {
        match reason.remedy.as_deref() {
            Some(option) if option.starts_with("`--") && !options.contains(&option) => options.push(option),
            Some(option) if option.starts_with("`--") => {}
            _ => return String::new(),
        }
    }
    if options.is_empty() { String::new() } else { format!(" ({})", options.join(" ")) }
}

/// All rules as Markdown, as they stand in `docs/runtimes.md`.
pub fn list() -> String {
    let mut text = String::new();
    for runtime in RUNTIMES {
        let reads: Vec<String> = runtime.reads.iter().map(|format| format!("`{format}`")).collect();
        let _ = writeln!(text, "### {}\n", runtime.name);
        let _ = writeln!(
            text,
            "`{}`, version {}. Reads {} (`{}{}`).\n",
            runtime.repository,
            runtime.version,
            reads.join(", "),
            runtime.folder,
            runtime.source
        );
        if runtime.rules.is_empty() {
            continue;
        }
        text += "| if | it | because | what helps | file |\n|---|---|---|---|---|\n";
        for rule in runtime.rules {
            let helps = rule.remedy.words().unwrap_or_default();
            let _ =
                writeln!(text, "| {} | {} | {} | {helps} | `{}` |", rule.fact, rule.outcome, rule.effect, rule.source);
        }
        text.push('\n');
    }
    text.trim_end().to_string() + "\n"
}
