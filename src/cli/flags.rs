//! Flags that clap has parsed as words again, so that they can be written to a config file or combined with those of a job.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::batch::options;

/// The words of the flags of `command` that the user typed, in the order of their declaration. Positional arguments are left
/// out, because they have no name.
pub fn typed(command: &Command, matches: &ArgMatches) -> Vec<OsString> {
    let is_typed =
        |id: &str| matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut words = Vec::new();
    for arg in command.get_arguments().filter(|arg| is_typed(arg.get_id().as_str())) {
        let Some(name) = arg.get_long() else { continue };
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            words.push(format!("--{name}").into());
            continue;
        }
        let occurrences = matches.try_get_raw_occurrences(arg.get_id().as_str()).ok().flatten();
        for values in occurrences.into_iter().flatten() {
            let values: Vec<OsString> = values.map(OsString::from).collect();
            let mut word = OsString::from(format!("--{name}"));
            if !values.is_empty() {
                word.push("=");
                word.push(values.join(",".as_ref()));
            }
            words.push(word);
        }
    }
    words
}

/// Whether two flags cannot be given together.
pub fn excludes(command: &Command, one: &Arg, other: &Arg) -> bool {
    let refuses = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|conflicting| conflicting.get_id() == other.get_id())
    };
    one.get_id() == other.get_id() || refuses(one, other) || refuses(other, one)
}

/// The words of `command` that do not conflict with those of a table, and then those of the table, which wins.
pub fn overridden(command: &Command, words: &[OsString], table: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let named = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let winners: Vec<&Arg> = table.keys().filter_map(|name| named(name)).collect();
    let stays = |word: &&OsString| {
        let text = word.to_string_lossy();
        let name = text.trim_start_matches("--").split('=').next().unwrap_or_default();
        named(name).is_none_or(|arg| !winners.iter().any(|winner| excludes(command, winner, arg)))
    };
    Ok([words.iter().filter(stays).cloned().collect(), options::to_words(table)?].concat())
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::cli::SlimArgs;

    fn words(words: &[OsString]) -> Vec<&str> {
        words.iter().filter_map(|word| word.to_str()).collect()
    }

    #[test]
    fn typed_flags_can_be_typed_again() {
        let command = SlimArgs::augment_args(Command::new("slim"));
        let line = ["--chat", "--samples=val file.jsonl", "--pad-zeros", "--for=vllm,llama.cpp", "--output=out"];
        let parse = |line: &[&str]| {
            let line = ["slim", "adapter"].iter().chain(line);
            command.clone().try_get_matches_from(line).unwrap()
        };
        let mut once = typed(&command, &parse(&line));
        let again = words(&once).join("\n");
        assert_eq!(once, typed(&command, &parse(&again.split('\n').collect::<Vec<_>>())));
        once.sort();
        let mut expected = line;
        expected.sort();
        assert_eq!(words(&once), expected);
        assert!(SlimArgs::from_arg_matches(&parse(&line)).unwrap().evaluate.chat);
    }
}
