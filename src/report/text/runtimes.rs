//! Which runtimes load an adapter, and why others do not, as a table.

use std::fmt::Write;
use std::path::Path;

use super::WIDTH;
use crate::audit::runtimes::list::flaws::FLAW_RULES;
use crate::audit::runtimes::{LoadOutcome, Maintenance, RUNTIMES, Runtime, RuntimeVerdict};
use crate::audit::serving::SlotMemory;
use crate::export::Format;
use crate::format::bytes;
use crate::printable::OneLine;

/// Where reasons begin: behind the name and the verdict.
const INDENT: usize = 26;

/// The answer of `check`: what is wrong with the adapter itself, then a row for each runtime.
pub fn checked(
    format: Format,
    flaws: &[(bool, &str)],
    notes: &[String],
    runtimes: &[RuntimeVerdict],
    serving: &[SlotMemory],
) -> String {
    let mut text = String::new();
    for (is_certain, flaw) in flaws {
        let head = if *is_certain { "wrong  " } else { "unusual  " };
        text += &hanging(head, head.len(), flaw);
    }
    for note in notes {
        text += &hanging("note   ", "note   ".len(), note);
    }
    if format != Format::Peft {
        let _ = writeln!(text, "{format}: only its form is looked at");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    for runtime in runtimes {
        text += &row(runtime, serving.iter().find(|slot| slot.runtime == runtime.name));
    }
    text
}

/// The verdict of a runtime, with its reasons and, where it has buffers, what it can be told to save.
fn row(runtime: &RuntimeVerdict, slot: Option<&SlotMemory>) -> String {
    let head = format!("{:<16}{:<10}", runtime.name, runtime.verdict.to_string());
    let mut text = String::new();
    for (place, reason) in runtime.reasons.iter().enumerate() {
        let head = if place == 0 { head.clone() } else { " ".repeat(INDENT) };
        let remedy = reason.remedy.as_ref().map_or(String::new(), |remedy| format!(" → {remedy}"));
        text += &hanging(&head, INDENT, &format!("{}{remedy}", reason.what));
    }
    let stopped =
        Runtime::by_name(runtime.name).map(|known| known.maintenance).filter(|one| *one != Maintenance::Active);
    if let Some(maintenance) = stopped {
        let head = if text.is_empty() { head.clone() } else { " ".repeat(INDENT) };
        text += &hanging(&head, INDENT, &format!("({} {})", runtime.name, maintenance.sentence()));
    }
    if let Some(slot) = slot.filter(|slot| slot.bytes < slot.unlimited_bytes) {
        let head = if text.is_empty() { head.clone() } else { " ".repeat(INDENT) };
        let (unlimited, needed) = (bytes(slot.unlimited_bytes), bytes(slot.bytes));
        text += &hanging(
            &head,
            INDENT,
            &format!("buffers of {unlimited} per slot, of which it needs {needed} → `lora-slim plan`"),
        );
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

/// Which runtimes load what was written, in a few lines.
pub fn written(runtimes: &[RuntimeVerdict], format: Format, output: &Path) -> String {
    let with = |outcome: LoadOutcome| -> Vec<String> {
        let those = runtimes.iter().filter(|runtime| runtime.verdict == outcome);
        those.map(|runtime| format!("{}{}", runtime.name, option(runtime))).collect()
    };
    let line = |head: &str, names: Vec<String>| match names.is_empty() {
        true => String::new(),
        false => hanging(head, 4, &names.join(", ")),
    };
    // A user who asks for another format knows that few runtimes read it.
    if format != Format::Peft {
        return line("loads in ", with(LoadOutcome::Loads));
    }
    let (loads, differs, refuses) = (with(LoadOutcome::Loads), with(LoadOutcome::Differs), with(LoadOutcome::Refuses));
    let more = if differs.len() + refuses.len() == 0 {
        String::new()
    } else {
        format!("`lora-slim check {}` says why\n", OneLine(output.display()))
    };
    line("loads in ", loads) + &line("computes something else in ", differs) + &line("is refused by ", refuses) + &more
}

/// The options of lora-slim that fix every reason why the runtime does not load the adapter; empty if they do not fix all.
fn option(runtime: &RuntimeVerdict) -> String {
    let mut options: Vec<&str> = Vec::new();
    for reason in runtime.reasons.iter().filter(|reason| reason.outcome != LoadOutcome::Loads) {
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
    let mut text = flaws();
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
        if let Some(memory) = runtime.memory.words() {
            let file = runtime.memory.buffers().map_or(String::new(), |rules| format!(" (`{}`)", rules.source));
            let _ = writeln!(text, "For adapters it allocates {memory}{file}.\n");
        }
        if runtime.maintenance != Maintenance::Active {
            let _ = writeln!(text, "It {}.\n", runtime.maintenance.sentence());
        }
        if runtime.rules.is_empty() {
            continue;
        }
        text += "| if | it | because | what helps | file |\n|---|---|---|---|---|\n";
        for rule in runtime.rules {
            let helps = rule.remedy.words().unwrap_or_default();
            for fact in rule.facts {
                let _ = writeln!(text, "| {fact} | {} | {} | {helps} | `{}` |", rule.outcome, rule.effect, rule.source);
            }
        }
        text.push('\n');
    }
    text.trim_end().to_string() + "\n"
}

/// What runtimes make of flaws.
fn flaws() -> String {
    let mut text = "### Flaws\n\n| if | in | it | because | what helps |\n|---|---|---|---|---|\n".to_string();
    for rule in FLAW_RULES {
        let helps = rule.remedy.words().unwrap_or_default();
        let names = |those: &[&Runtime]| those.iter().map(|one| one.name).collect::<Vec<_>>().join(", ");
        let others = if rule.known.is_empty() { "all" } else { "others" };
        let known = rule.known.iter().map(|(those, effect)| (names(those), *effect));
        for (names, (outcome, because)) in known.chain([(others.into(), rule.others)]) {
            let because = because.words();
            let _ = writeln!(text, "| {} | {names} | {outcome} | {because} | {helps} |", rule.words);
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::runtimes::LoadReason;

    #[test]
    fn long_paragraphs_hang_below_their_beginning() {
        let text = hanging("head ", 5, &"word ".repeat(30));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("head {}", ["word"; 19].join(" ")));
        assert_eq!(lines[1], format!("     {}", ["word"; 11].join(" ")));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn options_are_named_only_if_they_mend_everything() {
        let reason = |outcome, remedy: Option<&str>| LoadReason {
            what: "this".into(),
            outcome,
            remedy: remedy.map(String::from),
            source: "there".into(),
        };
        let verdict = |reasons: Vec<LoadReason>| RuntimeVerdict {
            name: "it",
            version: "1",
            verdict: LoadOutcome::Differs,
            reasons,
        };
        let portable = || reason(LoadOutcome::Differs, Some("`--portable`"));
        let zeros = || reason(LoadOutcome::Refuses, Some("`--pad-zeros`"));
        assert_eq!(option(&verdict(vec![zeros(), portable(), portable()])), " (`--pad-zeros` `--portable`)");
        assert_eq!(option(&verdict(vec![portable(), reason(LoadOutcome::Differs, None)])), "");
        assert_eq!(option(&verdict(vec![portable(), reason(LoadOutcome::Differs, Some("something else"))])), "");
    }
}
