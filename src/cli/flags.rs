//! Flags as words again: those of a file's table, and those that clap has parsed. So the command line, the lines of a manifest
//! and a config file are read by one parser, with the same names, checks and errors.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

/// The words of a table from flags, without their dashes, to values: `{"chat": true, "margin": "2%"}` is `--chat --margin=2%`.
/// A flag that is `false` is not there; a list is a flag with several values.
pub fn of_table(table: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let words = table.iter().filter_map(|(name, value)| match value {
        Value::Bool(false) => None,
        Value::Bool(true) => Some(Ok(format!("--{name}"))),
        Value::Array(values) => {
            let values: Result<Vec<String>, String> = values.iter().map(|value| scalar(name, value)).collect();
            Some(values.map(|values| format!("--{name}={}", values.join(","))))
        }
        value => Some(scalar(name, value).map(|value| format!("--{name}={value}"))),
    });
    words.map(|word| word.map(OsString::from)).collect()
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("`{name}` is neither true nor false, a number, a text or a list of these")),
    }
}

/// The words of the flags of `command` that the user gave, in the order of its declaration; positional arguments have no name,
/// and so no part in it.
pub fn given(command: &Command, matches: &ArgMatches) -> Vec<OsString> {
    let is_given =
        |id: &str| matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut words = Vec::new();
    for arg in command.get_arguments().filter(|arg| is_given(arg.get_id().as_str())) {
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

/// The words of `command` that do not stand against a table that wins over them, and those of the table.
pub fn overridden(command: &Command, words: &[OsString], table: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let named = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let winners: Vec<&Arg> = table.keys().filter_map(|name| named(name)).collect();
    let stays = |word: &&OsString| {
        let text = word.to_string_lossy();
        let name = text.trim_start_matches("--").split('=').next().unwrap_or_default();
        named(name).is_none_or(|arg| !winners.iter().any(|winner| excludes(command, winner, arg)))
    };
    Ok([words.iter().filter(stays).cloned().collect(), of_table(table)?].concat())
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};
    use serde_json::json;

    use super::*;
    use crate::cli::SlimArgs;

    fn words(words: &[OsString]) -> Vec<&str> {
        words.iter().filter_map(|word| word.to_str()).collect()
    }

    #[test]
    fn tables_become_words() {
        let table =
            json!({"chat": true, "controls": false, "margin": "2%", "max-layers": 20, "metric": ["f1", "rouge-l"]});
        let made = of_table(table.as_object().unwrap()).unwrap();
        assert_eq!(words(&made), ["--chat", "--margin=2%", "--max-layers=20", "--metric=f1,rouge-l"]);
        for wrong in [json!({"chat": null}), json!({"margin": {}}), json!({"metric": [["f1"]]})] {
            assert!(of_table(wrong.as_object().unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_given_can_be_given_again() {
        let command = SlimArgs::augment_args(Command::new("slim"));
        let line = ["--chat", "--samples=val file.jsonl", "--pad-zeros", "--for=vllm,llama.cpp", "--output=out"];
        let parse = |line: &[&str]| {
            let line = ["slim", "adapter"].iter().chain(line);
            command.clone().try_get_matches_from(line).unwrap()
        };
        let mut once = given(&command, &parse(&line));
        let again = words(&once).join("\n");
        assert_eq!(once, given(&command, &parse(&again.split('\n').collect::<Vec<_>>())));
        once.sort();
        let mut expected = line;
        expected.sort();
        assert_eq!(words(&once), expected);
        assert!(SlimArgs::from_arg_matches(&parse(&line)).unwrap().evaluate.chat);
    }
}
