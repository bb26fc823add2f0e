//! Flags that clap has parsed as words again, so that they can be written to a config file or combined with those of a job.

use std::ffi::OsString;
use std::marker::PhantomData;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::batch::options;
use crate::format::shell_word;

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

/// The flags of the command `C` that the user gave, as words: a report says with them how it was made. Stands before all other fields,
/// which take their values away.
#[derive(Debug, Clone, Default)]
pub struct GivenFlags<C> {
    words: Vec<OsString>,
    _command: PhantomData<fn() -> C>,
}

impl<C: Args> Args for GivenFlags<C> {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl<C: Args> FromArgMatches for GivenFlags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let words = typed(&C::augment_args(Command::new("")), matches);
        Ok(Self { words, _command: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Flags that say where results go and what is printed of them: no result depends on them.
const OF_THE_OUTPUT: [&str; 5] = ["--output", "--force", "--dry-run", "--report", "--json"];

/// A flag whose value may hold secrets: reports are published.
const SECRET: &str = "--scorer";

impl<C> GivenFlags<C> {
    /// The command line of `name` that gives the same result, whatever it is written to. The command of a scorer is left out.
    pub fn command_line(&self, name: &str, adapter: &str) -> String {
        // A path, which would be taken for a flag.
        let adapter = if adapter.starts_with('-') { format!("./{adapter}") } else { adapter.into() };
        let mut line = format!("lora-slim {name} {}", shell_word(&adapter));
        for word in &self.words {
            let word = word.to_string_lossy();
            let (flag, value) = word.split_once('=').map_or((&*word, None), |(flag, value)| (flag, Some(value)));
            match value {
                _ if OF_THE_OUTPUT.contains(&flag) => {}
                None => line += &format!(" {flag}"),
                Some(_) if flag == SECRET => line += &format!(" {flag} …"),
                // It would be taken for a flag.
                Some(value) if value.starts_with('-') => line += &format!(" {flag}={}", shell_word(value)),
                Some(value) => line += &format!(" {flag} {}", shell_word(value)),
            }
        }
        line
    }
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
        let args = SlimArgs::from_arg_matches(&parse(&line)).unwrap();
        assert!(args.evaluate.chat);
        let line = args.given.command_line("slim", "my adapter");
        let words = shlex::split(&line).unwrap();
        assert_eq!(words[..3], ["lora-slim", "slim", "my adapter"]);
        let again = command.clone().try_get_matches_from(&words[1..]).unwrap_err();
        assert_eq!(again.kind(), clap::error::ErrorKind::MissingRequiredArgument, "{line} has no output: {again}");
        let again =
            command.clone().try_get_matches_from(words[1..].iter().map(String::as_str).chain(["-o", "out"])).unwrap();
        assert_eq!(SlimArgs::from_arg_matches(&again).unwrap().given.command_line("slim", "my adapter"), line);
    }
}
