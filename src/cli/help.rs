//! How the help shows the flags: under which heading, and which of them the short help leaves to the long one.
//!
//! `--help` shows what most people use; `lora-slim help COMMAND` shows all.

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// Flags that belong together.
struct Heading {
    name: &'static str,
    /// What most people use.
    common: &'static [&'static str],
    further: &'static [&'static str],
}

const HEADINGS: &[Heading] = &[
    Heading {
        name: "Input",
        common: &["samples", "base", "chat", "tokenizer", "max-samples", "holdout", "manifest"],
        further: &[
            "all-turns",
            "alpha",
            "assistant-only",
            "chat-template",
            "completion-field",
            "date",
            "own-answers",
            "prompt-field",
            "slice-by",
            "split",
            "stack",
            "test",
            "truncate",
            "offline",
        ],
    },
    Heading {
        name: "Choice",
        common: &["choose", "margin", "boundary", "keep-layers"],
        further: &["confidence", "loss-only", "max-bytes", "max-layers", "no-guard", "one-standard-error"],
    },
    Heading {
        name: "Search",
        common: &["minimize"],
        further: &["common", "controls", "probability", "same-rank", "scale", "search"],
    },
    Heading {
        name: "Answers",
        common: &["metric"],
        further: &["answers-at", "by", "ignore-end", "max-new-tokens", "scorer", "scorer-limit", "stop", "with-texts"],
    },
    Heading { name: "Rewriting", common: &["rank", "dtype"], further: &["dead-weight", "pad-zeros", "portable"] },
    Heading {
        name: "Gates",
        common: &[],
        further: &["better-than-base", "max-loss-increase", "min-gain", "min-samples", "require-saving"],
    },
    Heading { name: "Checks", common: &["runtime"], further: &["any-layers", "check", "given", "list", "tolerance"] },
    Heading {
        name: "Output",
        common: &["output", "format", "for", "report", "page", "private", "dry-run", "force", "json"],
        further: &["no-card"],
    },
    Heading {
        name: "Limits",
        common: &["memory", "device", "jobs"],
        further: &["fail-fast", "partition", "precision"],
    },
    Heading {
        name: "Terminal",
        common: &["quiet", "verbose", "help", "version"],
        further: &["log-format", "config", "no-config", "print-config"],
    },
];

/// A command with more flags than this has a short help without the further ones. Without those of all commands, each has.
const MANY: usize = 24;

/// The command line, with its flags under headings.
pub fn command() -> Command {
    let mut cli = with_headings(Cli::command());
    let names: Vec<String> = cli.get_subcommands().map(|command| command.get_name().into()).collect();
    for name in names {
        cli = cli.mut_subcommand(name, with_headings);
    }
    cli
}

fn with_headings(command: Command) -> Command {
    let is_long = command.get_arguments().count() > MANY;
    let command = command.mut_args(|arg| placed(arg, is_long));
    let after = command.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
    let of =
        if command.get_subcommands().next().is_some() { String::new() } else { format!(" {}", command.get_name()) };
    let all = format!("{after}These are the flags that most people use. All of them: lora-slim help{of}");
    if after.is_empty() {
        command.after_help(all)
    } else {
        command.after_help(all).after_long_help(after.trim_end().to_string())
    }
}

/// A flag under its heading. A flag of no heading is shown, under clap's own.
fn placed(arg: Arg, is_long: bool) -> Arg {
    let Some(name) = arg.get_long() else { return arg };
    let heading = HEADINGS.iter().find(|heading| heading.names().any(|own| own == name));
    let Some(heading) = heading else { return arg };
    let is_hidden = heading.further.contains(&name) && (is_long || arg.is_global_set());
    let arg = arg.help_heading(heading.name);
    if is_hidden { arg.hide_short_help(true) } else { arg }
}

impl Heading {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.common.iter().chain(self.further).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_one_heading() {
        let mut cli = command();
        cli.build();
        let commands = || std::iter::once(&cli).chain(cli.get_subcommands().filter(|one| one.get_name() != "help"));
        for command in commands() {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let Some(name) = arg.get_long() else { continue };
                let headings = HEADINGS.iter().filter(|heading| heading.names().any(|own| own == name));
                assert_eq!(headings.count(), 1, "--{name}");
            }
        }
        for name in HEADINGS.iter().flat_map(Heading::names) {
            let has = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some(name));
            assert!(commands().any(has), "--{name}");
        }
    }
}
