//! The flags that a file or the environment may set, and those that the user typed, which override them.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The flags of a command that may be set without being typed, apart from those of these names. Hidden ones exist only to be refused.
pub fn flags_of<'a>(command: &'a Command, never: &'static [&'static str]) -> impl Iterator<Item = &'a Arg> {
    let may_be_set = |arg: &&Arg| arg.get_long().is_some_and(|name| !never.contains(&name));
    command.get_arguments().filter(|arg| !arg.is_hide_set()).filter(may_be_set)
}

/// The flags and arguments of a command that the user typed.
pub fn typed<'a>(command: &'a Command, matches: &ArgMatches) -> Vec<&'a Arg> {
    let is_typed = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    command.get_arguments().filter(is_typed).collect()
}
