//! What orchestrators rely on: exit codes, and examples that the command line really takes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Parser;
use lora_slim::cli::Cli;
use lora_slim::error::{
    BaseError, ChoiceError, ComputeError, ConfigError, Error, FileError, GateError, Kind, MetricError, SampleError,
    TensorError,
};

use crate::support::{fixture, lora_slim, stdout};

#[test]
fn every_kind_of_failure_has_its_code() {
    let path = || PathBuf::from("x");
    let read = |kind: io::ErrorKind| FileError::Read { path: path(), source: kind.into() };
    let write = FileError::Write { path: path(), source: io::ErrorKind::StorageFull.into() };
    let family = SampleError::NoTokenizer { path: path() };
    let memory = ComputeError::Memory { needed: 2, budget: 1 };
    let unknown = ConfigError::Value { path: path(), key: "chat".into(), expected: "true or false" };
    let cases: [(Error, u8); 16] = [
        (FileError::OutputExists { path: path() }.into(), 2),
        (ChoiceError::OutOfRange { boundary: 9, layers: 4 }.into(), 2),
        (memory.into(), 2),
        (MetricError::Memory { needed: 2, budget: 1 }.into(), 2),
        (unknown.into(), 2),
        (read(io::ErrorKind::NotFound).into(), 3),
        (TensorError::Missing { path: path(), name: "t".into() }.into(), 3),
        (family.into(), 3),
        (BaseError::Unnamed { adapter: path() }.into(), 3),
        (read(io::ErrorKind::PermissionDenied).into(), 4),
        (read(io::ErrorKind::TimedOut).into(), 4),
        (write.into(), 4),
        (ChoiceError::AdapterDoesNotHelp { rule: "best" }.into(), 5),
        (GateError::Failed { failed: vec!["`--min-samples 9`, 8 different ones choose".into()] }.into(), 6),
        (ComputeError::NoCommonBase.into(), 70),
        (ComputeError::Interrupted.into(), 130),
    ];
    for (error, code) in &cases {
        assert_eq!(error.kind().exit_code(), *code, "{error}");
    }
    let seen: BTreeSet<u8> = cases.iter().map(|(_, code)| *code).collect();
    assert_eq!(seen, Kind::BY_SEVERITY.iter().map(|kind| kind.exit_code()).collect());
}

#[test]
fn the_codes_are_those_that_are_documented() {
    let codes: BTreeSet<u8> = Kind::BY_SEVERITY.iter().map(|kind| kind.exit_code()).chain([0]).collect();
    let first_number = |line: &str, before: &str| line.strip_prefix(before)?.split_whitespace().next()?.parse().ok();
    let help = stdout(lora_slim().arg("--help").assert().success());
    let (_, help) = help.split_once("Exit codes:").unwrap();
    let helped: BTreeSet<u8> = help.lines().filter_map(|line| first_number(line, "  ")).collect();
    let pipelines = fs::read_to_string(fixture("../docs/pipelines/README.md")).unwrap();
    let documented: BTreeSet<u8> = pipelines.lines().filter_map(|line| first_number(line, "| ")).collect();
    assert_eq!((&helped, &documented), (&codes, &codes));
}

/// The words of the lines that begin with `lora-slim`: in Markdown those of its code blocks.
fn command_lines(name: &str, text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let is_markdown = name.ends_with(".md");
    let mut in_code = !is_markdown;
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if is_markdown && line.starts_with("```") {
            in_code = !in_code;
        }
        let line = line.trim_start_matches("$ ");
        if in_code && line.starts_with("lora-slim ") {
            let words = shlex::split(line).unwrap_or_else(|| panic!("{name}: {line}"));
            lines.push(words.into_iter().take_while(|word| !is_of_the_shell(word)).collect());
            // Something was left out.
            lines.pop_if(|words: &mut Vec<String>| words.iter().any(|word| word == "…"));
        }
    }
    let of_containers = text.split("command: [lora-slim,").skip(1).filter_map(|rest| Some(rest.split_once(']')?.0));
    let words = |list: &str| list.split(',').map(|word| word.trim().trim_matches('"').to_string()).collect::<Vec<_>>();
    lines.extend(of_containers.map(|list| [vec!["lora-slim".into()], words(list)].concat()));
    lines
}

/// Where the command ends, and redirection or the next one begins.
fn is_of_the_shell(word: &str) -> bool {
    ["&&", "||", "|", ";", ">", ">>", "2>"].contains(&word)
}

/// A word as it is where the variables of Kubernetes and Slurm are not set.
fn outside_a_cluster(word: &str) -> String {
    let variables = ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"];
    variables.iter().fold(word.to_string(), |word, variable| word.replace(variable, "1"))
}

#[test]
fn documented_command_lines_are_taken() {
    let folders = ["docs", "docs/pipelines", "contrib/pipelines", "contrib/ray"];
    let entries = folders.into_iter().flat_map(|folder| fs::read_dir(fixture("..").join(folder)).unwrap());
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files = files.filter(|path| path.extension().is_none_or(|kind| kind != "py")).chain([fixture("../README.md")]);
    let mut taken = BTreeSet::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for words in command_lines(&name, &fs::read_to_string(&path).unwrap()) {
            let parsed = Cli::try_parse_from(words.iter().map(|word| outside_a_cluster(word)));
            // A config file may have the rest.
            let incomplete = |error: &clap::Error| error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
            let has_config = words.iter().any(|word| word == "--config");
            let fits = parsed.as_ref().err().is_none_or(|error| has_config && incomplete(error));
            assert!(fits, "{}: {words:?}\n{}", path.display(), parsed.unwrap_err());
            taken.insert(name.clone());
        }
    }
    for name in ["README.md", "github-actions.yml", "kubernetes.yaml", "slurm.sh", "Snakefile"] {
        assert!(taken.contains(name), "no command line was found in {name}");
    }
}

#[test]
fn command_lines_are_found_and_cut_off() {
    let found = command_lines("a.md", "lora-slim no\n```sh\n$ lora-slim scan 'a b' \\\n  --chat > c  # why\n```\n");
    assert_eq!(found, [["lora-slim", "scan", "a b", "--chat"]]);
    let found = command_lines("a.yaml", "command: [lora-slim, batch,\n  \"in\"]\nrun: |\n  lora-slim man | less\n");
    assert_eq!(found, [vec!["lora-slim", "man"], vec!["lora-slim", "batch", "in"]]);
}
