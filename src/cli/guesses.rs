//! What people type who know other programs' flags and not this one's, answered with what they mean.
//!
//! clap suggests names that are spelt alike: `--date` for `--dataset`. Names that mean the same come from a table.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use super::Cli;
use crate::format::listed;

/// Names that people guess, and the flags that these mean: the first that the command has.
const FLAGS: &[(&[&str], &[&str])] = &[
    (
        &[
            "calibration",
            "data",
            "data-dir",
            "data-path",
            "dataset",
            "dataset-path",
            "datasets",
            "eval-data",
            "examples",
            "file",
            "input",
            "inputs",
            "jsonl",
            "prompts",
            "sample",
            "train-file",
            "val",
            "validation",
            "validation-file",
        ],
        &["samples"],
    ),
    (
        &[
            "base-model",
            "base-model-name-or-path",
            "basemodel",
            "checkpoint",
            "gguf",
            "hf-model",
            "model",
            "model-dir",
            "model-id",
            "model-name",
            "model-name-or-path",
            "model-path",
            "pretrained",
            "pretrained-model-name-or-path",
        ],
        &["base"],
    ),
    (&["keep", "layer", "layers", "layers-to-keep", "layers-to-transform"], &["keep-layers", "boundary", "max-layers"]),
    (&["cut", "cut-at", "depth", "n-layers", "num-layers", "number-of-layers", "until"], &["boundary", "keep-layers"]),
    (
        &["dest", "dir", "out", "out-dir", "outdir", "outfile", "output-dir", "output-path", "save", "save-path", "to"],
        &["output"],
    ),
    (&["lora-r", "lora-rank", "max-rank", "r", "ranks"], &["rank"]),
    (&["lora-alpha"], &["alpha", "scale"]),
    (&["bf16", "bits", "fp16", "out-type", "outtype", "quant", "quantize", "torch-dtype", "type"], &["dtype"]),
    (&["limit", "max-examples", "n", "n-samples", "nsamples", "num-examples", "num-samples"], &["max-samples"]),
    (&["overwrite", "replace", "y", "yes"], &["force"]),
    (&["cuda", "device-map", "gpu", "metal", "mps"], &["device"]),
    (&["j", "n-jobs", "num-workers", "parallel", "threads", "workers"], &["jobs"]),
    (&["max-memory", "mem", "memory-limit", "ram"], &["memory"]),
    (&["apply-chat-template", "chat-format", "instruct"], &["chat"]),
    (&["jinja", "template"], &["chat-template"]),
    (&["html", "page", "report"], &["report", "page"]),
    (&["eval-metric", "metrics", "score"], &["metric"]),
    (&["method", "rule", "strategy"], &["choose"]),
    (&["eps", "max-loss", "slack", "threshold", "tol"], &["margin", "tolerance"]),
    (&["backend", "engine", "runtime", "runtimes", "serve"], &["runtime", "for"]),
    (&["for", "targets"], &["for", "runtime"]),
    (&["dry", "dryrun", "no-write", "simulate", "what-if"], &["dry-run"]),
    (&["local-files-only", "no-network"], &["offline"]),
    (&["silent"], &["quiet"]),
    (&["debug", "log-level", "loglevel", "trace"], &["verbose"]),
    (&["json-logs", "log-json", "logformat"], &["log-format"]),
    (&["to-gguf"], &["format"]),
    (&["val-split", "validation-split"], &["holdout", "split"]),
    (&["budget", "max-size", "size"], &["max-bytes"]),
];

/// Guesses that no flag answers.
const SENTENCES: &[(&[&str], &str)] = &[
    (
        &[
            "adapter",
            "adapter-dir",
            "adapter-model",
            "adapter-name-or-path",
            "adapter-path",
            "adapters",
            "lora",
            "lora-dir",
            "lora-path",
            "peft",
            "peft-model",
        ],
        "the adapter has no flag: write its folder or name alone",
    ),
    (&["branch", "rev", "revision"], "write the revision behind the name: `ORG/NAME@REVISION`"),
    (&["hf-token", "token"], "the token is that of `hf auth login`, or of the variable `HF_TOKEN`"),
    (&["cache-dir"], "the variable `HF_HUB_CACHE` names the cache"),
    (&["batch-size", "bs"], "there is no batch size: `--memory` limits what is computed at once"),
    (&["seed"], "there is no seed: the same input gives the same output"),
    (&["help-all", "help-long", "long-help"], "`lora-slim help COMMAND` prints all of the help"),
];

/// Guesses at the flags of one command, which come before [`SENTENCES`].
const OF_COMMANDS: &[(&str, &[&str], &str)] = &[
    (
        "push",
        &["branch", "rev", "revision"],
        "`push` uploads to the main branch: `hf upload user/name FOLDER . --revision NAME` uploads to another one",
    ),
    ("push", &["public"], "the repository is a public one unless `--private` is given"),
];

/// Commands that people guess and that there are not.
const NO_COMMANDS: &[(&[&str], &str)] = &[
    (&["fuse", "merge"], "lora-slim merges nothing into base models: PEFT's `merge_and_unload` does"),
    (
        &["quantise", "quantize"],
        "`lora-slim cut ADAPTER --boundary all --dtype bf16 -o OUT` stores an adapter in another type; for q8_0 add `--format gguf`",
    ),
];

/// Names that people guess, and the commands that these mean.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["compress", "minimize", "prune", "reduce", "run", "shrink", "start", "trim"], "slim"),
    (&["curve", "eval", "evaluate", "measure", "score", "sweep"], "scan"),
    (&["crop", "drop", "slice", "truncate"], "cut"),
    (&["convert", "import", "mend", "repair"], "fix"),
    (&["info", "list", "ls", "print", "show", "stat"], "inspect"),
    (&["diff", "proof", "prove", "test", "validate"], "verify"),
    (&["compat", "doctor", "lint", "runtimes"], "check"),
    (&["all", "bulk", "many"], "batch"),
    (&["memory", "serve", "serving"], "plan"),
    (&["completion", "shell"], "completions"),
    (&["publish", "share", "upload"], "push"),
];

/// The flag of a command that a guess means.
pub fn flag<'a>(typed: &str, command: &'a Command) -> Option<&'a str> {
    let typed = typed.to_lowercase().replace('_', "-");
    let named = |name: &str| visible(command).filter_map(Arg::get_long).find(|long| *long == name);
    named(&typed).or_else(|| {
        let (_, meant) = FLAGS.iter().find(|(guesses, _)| guesses.contains(&typed.as_str()))?;
        meant.iter().find_map(|name| named(name))
    })
}

fn visible(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// Adds to clap's error what the user may have meant, if anything here knows.
pub fn advise(error: &mut clap::Error, words: &[OsString]) {
    let mut cli = Cli::command();
    cli.build();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let command = words.iter().skip(1).find_map(|word| cli.find_subcommand(word));
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => command
            .zip(text(ContextKind::InvalidArg))
            .and_then(|(command, typed)| of_argument(&typed, command, &cli, words)),
        ErrorKind::InvalidValue => {
            command.zip(text(ContextKind::InvalidValue)).and_then(|(command, value)| of_value(&value, command))
        }
        ErrorKind::InvalidSubcommand => text(ContextKind::InvalidSubcommand).and_then(|typed| of_command(&typed)),
        _ => None,
    };
    let Some(tip) = tip else { return without_escape(error) };
    // These would say something else.
    for kind in
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue, ContextKind::Usage]
    {
        error.remove(kind);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
}

/// Removes clap's advice to write an unknown flag behind `--`, as a value: nobody means that.
fn without_escape(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(tips)) = error.get(ContextKind::Suggested) else { return };
    let others: Vec<_> = tips.iter().filter(|tip| !tip.to_string().contains("as a value, use")).cloned().collect();
    error.remove(ContextKind::Suggested);
    if !others.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(others));
    }
}

fn of_argument(typed: &str, command: &Command, cli: &Command, words: &[OsString]) -> Option<String> {
    if !typed.starts_with('-') {
        let samples = command.get_name() != "cut" && flag("samples", command).is_some() && Path::new(typed).is_file();
        return samples.then(|| format!("to read it as samples, write `--samples {typed}`"));
    }
    // clap takes `-samples` for the flag `-s`.
    let name = match typed.strip_prefix("--") {
        Some(name) => name,
        None => {
            let words = words.iter().filter_map(|word| word.to_str()?.strip_prefix('-'));
            words
                .map(|word| word.split('=').next().unwrap_or_default())
                .find(|word| word.len() > 1 && !word.starts_with('-') && format!("-{word}").starts_with(typed))?
        }
    };
    if let Some(flag) = flag(name, command) {
        return Some(format!("the flag of `{}` for that is `--{flag}`", command.get_name()));
    }
    let typed = name.to_lowercase().replace('_', "-");
    let is_meant =
        |(name, guesses, _): &&(&str, &[&str], &str)| *name == command.get_name() && guesses.contains(&typed.as_str());
    if let Some((_, _, sentence)) = OF_COMMANDS.iter().find(is_meant) {
        return Some((*sentence).into());
    }
    if let Some((_, sentence)) = SENTENCES.iter().find(|(guesses, _)| guesses.contains(&typed.as_str())) {
        return Some((*sentence).into());
    }
    let others = cli.get_subcommands().filter(|other| visible(other).any(|arg| arg.get_long() == Some(&*typed)));
    let others: Vec<String> = others.map(|other| format!("`{}`", other.get_name())).collect();
    (!others.is_empty()).then(|| format!("`--{typed}` is a flag of {}", listed(&others, "and")))
}

/// The flags that have a value which another flag was given.
fn of_value(value: &str, command: &Command) -> Option<String> {
    let has = |arg: &&Arg| arg.get_possible_values().iter().any(|possible| possible.matches(value, false));
    let flags = visible(command).filter(|arg| arg.get_action().takes_values()).filter(has).filter_map(Arg::get_long);
    let flags: Vec<String> = flags.map(|flag| format!("`--{flag} {value}`")).collect();
    (!flags.is_empty()).then(|| format!("`{value}` is a value of another flag: {}", listed(&flags, "or")))
}

fn of_command(typed: &str) -> Option<String> {
    let name = typed.to_lowercase();
    if let Some((_, command)) = COMMANDS.iter().find(|(guesses, _)| guesses.contains(&name.as_str())) {
        return Some(format!("the command for that is `lora-slim {command}`"));
    }
    if let Some((_, sentence)) = NO_COMMANDS.iter().find(|(guesses, _)| guesses.contains(&name.as_str())) {
        return Some((*sentence).into());
    }
    let is_path = typed.contains(['/', '\\']) || Path::new(typed).exists();
    is_path.then(|| format!("name a command first: `lora-slim slim {typed}`, or `lora-slim inspect {typed}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_mean_flags_that_there_are() {
        let mut cli = Cli::command();
        cli.build();
        let known = |name: &str| cli.get_subcommands().any(|command| flag(name, command) == Some(name));
        for (guesses, meant) in FLAGS {
            meant.iter().for_each(|name| assert!(known(name), "--{name}"));
            assert!(guesses.is_sorted(), "{guesses:?}");
        }
        for (_, command) in COMMANDS {
            assert!(cli.find_subcommand(command).is_some(), "{command}");
        }
    }
}
