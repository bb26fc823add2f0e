//! `lora-slim.toml`: flags that are set once for all runs in a folder.
//!
//! Keys are the long names of flags; a table applies only to the command of its name. The file's flags become words of the
//! command line, before those that the user typed, so that clap remains the only parser. The more specific words win: a table
//! over the keys above all tables, a variable of the environment over both, the command line over all, and each also over any flag that conflicts with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use serde_json::{Map, Value};

use crate::batch::options;
use crate::cli::Cli;
use crate::cli::environment::Environment;
use crate::cli::{flags, guesses, parse, settable};
use crate::error::{ConfigError, Result};
use crate::files;

/// The file that is looked for in the working directory.
pub const FILE_NAME: &str = "lora-slim.toml";

/// The largest config file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Flags that only a command line can have.
const NEVER_IN_A_FILE: &[&str] = &["help", "version", "config", "no-config", "print-config"];

/// A command line with the flags of the environment and of a config file added.
#[derive(Debug, PartialEq)]
pub struct Expanded {
    pub words: Vec<OsString>,
    /// The file, if it added any.
    pub file: Option<PathBuf>,
    /// The variables that added some.
    pub variables: Vec<String>,
}

/// Adds the flags that the environment sets, and those of the config file, if there is one, to a command line.
pub fn expand(words: Vec<OsString>, environment: &Environment) -> Result<Expanded> {
    let mut cli = Cli::command();
    cli.build();
    let unchanged = |words| Ok(Expanded { words, file: None, variables: Vec::new() });
    let Some(matches) = typed(&cli, &words) else { return unchanged(words) };
    let Some((name, typed_flags)) = matches.subcommand() else { return unchanged(words) };
    let (Some(command), Some(place)) = (cli.find_subcommand(name), place_of_command(&cli, &words)) else {
        return unchanged(words);
    };
    let from_environment = environment.flags(command, typed_flags)?;
    let mut words = words;
    words.splice(place + 1..place + 1, from_environment.words.iter().cloned());
    let variables = from_environment.used;
    // What the variables say is wrong where clap reports an error now.
    let again = typed(&cli, &words);
    let Some((_, typed)) = again.as_ref().and_then(ArgMatches::subcommand) else {
        return Ok(Expanded { words, file: None, variables });
    };
    let Some(path) = find(typed).filter(|_| has_own_flags(command)) else {
        return Ok(Expanded { words, file: None, variables });
    };
    let table = read(&path)?;
    check(&table, &cli, &path)?;
    let mut table = table_of(&table, command, typed);
    table.retain(|name, _| !from_environment.off.contains(name));
    let value = |reason| ConfigError::Toml { path: path.clone(), reason };
    let added = options::to_words(&table).map_err(value)?;
    let file = (!added.is_empty()).then_some(path);
    words.splice(place + 1..place + 1, added);
    Ok(Expanded { words, file, variables })
}

/// What the user typed, even without a required flag that the file may have. `None` if clap reports any other error.
fn typed(cli: &Command, words: &[OsString]) -> Option<ArgMatches> {
    match cli.clone().try_get_matches_from(words) {
        Ok(matches) => Some(matches),
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            cli.clone().ignore_errors(true).try_get_matches_from(words).ok()
        }
        Err(_) => None,
    }
}

/// The index of the command's name. Only global flags come before it.
fn place_of_command(cli: &Command, words: &[OsString]) -> Option<usize> {
    let takes_the_next = |word: &str| {
        let arg = word.strip_prefix("--").and_then(|name| flag(cli, name));
        arg.is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut place = 1;
    loop {
        let word = words.get(place)?.to_string_lossy();
        if !word.starts_with('-') {
            return Some(place);
        }
        place += if takes_the_next(&word) { 2 } else { 1 };
    }
}

fn find(typed: &ArgMatches) -> Option<PathBuf> {
    if typed.get_flag("no_config") {
        return None;
    }
    let named = typed.get_one::<PathBuf>("config").cloned();
    named.or_else(|| Some(PathBuf::from(FILE_NAME)).filter(|path| path.is_file()))
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = files::read_text(path, LARGEST)?;
    let table = toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::Toml { path: path.into(), reason: place + &message }
    })?;
    Ok(table)
}

/// The flags of a command that a file may set.
fn flags_of(command: &Command) -> impl Iterator<Item = &Arg> {
    settable::flags_of(command, NEVER_IN_A_FILE)
}

fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

fn flag_of_file<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    flags_of(command).find(|arg| arg.get_long() == Some(name))
}

/// Whether a command has flags of its own.
fn has_own_flags(command: &Command) -> bool {
    flags_of(command).any(|arg| !arg.is_global_set())
}

/// Refuses unknown keys in every table: a misspelt flag would be ignored.
fn check(table: &Map<String, Value>, cli: &Command, path: &Path) -> Result<()> {
    let all: Vec<&Command> = cli.get_subcommands().collect();
    for (key, value) in table {
        match (cli.find_subcommand(key), value) {
            (Some(command), Value::Object(flags)) => {
                let of = || format!("`lora-slim {key}`");
                flags.iter().try_for_each(|(key, value)| check_flag(key, value, &[command], of, path))?;
            }
            _ => check_flag(key, value, &all, || "any command".into(), path)?,
        }
    }
    Ok(())
}

fn check_flag(
    key: &str,
    value: &Value,
    commands: &[&Command],
    of: impl Fn() -> String,
    path: &Path,
) -> std::result::Result<(), ConfigError> {
    let Some(arg) = commands.iter().find_map(|command| flag_of_file(command, key)) else {
        let nearest = nearest(key, commands);
        return Err(ConfigError::UnknownKey { path: path.into(), key: key.into(), of: of(), nearest });
    };
    let expected = misfit(arg, value);
    expected.map_or(Ok(()), |expected| Err(ConfigError::Value { path: path.into(), key: key.into(), expected }))
}

/// The flag or table whose name is most similar to `key`.
fn nearest(key: &str, commands: &[&Command]) -> Option<String> {
    let names = commands.iter().flat_map(|command| flags_of(command)).filter_map(Arg::get_long);
    let names = names.chain(commands.iter().map(|command| command.get_name()).filter(|_| commands.len() > 1));
    let guessed = commands.iter().find_map(|command| guesses::flag(key, command));
    guessed.map(String::from).or_else(|| parse::nearest(key, names))
}

/// The expected kind of a flag's value, if it has another.
fn misfit(arg: &Arg, value: &Value) -> Option<&'static str> {
    let is_scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_));
    let count = arg.get_num_args().unwrap_or_default();
    match value {
        Value::Bool(_) if count.min_values() == 0 => None,
        _ if count.max_values() == 0 => Some("true or false"),
        Value::Array(values) if values.iter().all(is_scalar) => None,
        value if is_scalar(value) => None,
        _ => Some("a number, a text, or a list of these"),
    }
}

/// The file's flags for a command, without those that a typed flag overrides.
fn table_of(file: &Map<String, Value>, command: &Command, typed: &ArgMatches) -> Map<String, Value> {
    let typed = settable::typed(command, typed);
    let own = file.get(command.get_name()).and_then(Value::as_object);
    let named: Vec<&Arg> = own.iter().flat_map(|own| own.keys()).filter_map(|name| flag(command, name)).collect();
    let above: Vec<&Arg> = typed.iter().copied().chain(named).collect();
    let remain = |table: &Map<String, Value>, winners: &[&Arg]| -> Vec<(String, Value)> {
        let stays = |name: &str| {
            let arg = flag_of_file(command, name);
            arg.is_some_and(|arg| !winners.iter().any(|winner| flags::excludes(command, winner, arg)))
        };
        table.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut table: Map<String, Value> = remain(file, &above).into_iter().collect();
    table.extend(own.iter().flat_map(|own| remain(own, &typed)));
    table.retain(|_, value| *value != Value::Bool(false) && *value != Value::Array(Vec::new()));
    table
}

/// The flags of a command line as an equivalent config file. Flags with their default value are in comments.
pub fn of_command_line(words: &[OsString]) -> Result<String> {
    let mut cli = Cli::command();
    cli.build();
    let matches = cli.clone().get_matches_from(words);
    let Some((name, matches)) = matches.subcommand() else { return Ok(String::new()) };
    let Some(command) = cli.find_subcommand(name) else { return Ok(String::new()) };
    let mut table = Map::new();
    for word in flags::typed(command, matches) {
        let text = word.to_string_lossy();
        let (flag, value) =
            text.trim_start_matches("--").split_once('=').map_or((&text[2..], None), |(f, v)| (f, Some(v)));
        if NEVER_IN_A_FILE.contains(&flag) {
            continue;
        }
        if word.to_str().is_none() {
            return Err(ConfigError::NotUtf8 { flag: flag.into() }.into());
        }
        let value = match (value, table.get(flag)) {
            (None, _) => Value::Bool(true),
            (Some(value), Some(Value::String(before))) if options::REPEATED.contains(&flag) => {
                Value::Array(vec![before.as_str().into(), value.into()])
            }
            (Some(value), Some(Value::Array(before))) => {
                Value::Array(before.iter().cloned().chain([value.into()]).collect())
            }
            // A flag that was repeated.
            (Some(value), Some(Value::String(before))) => Value::String(format!("{before},{value}")),
            (Some(value), _) => value_of(value),
        };
        table.insert(flag.into(), value);
    }
    let defaults = flags_of(command).filter(|arg| takes_default(arg, matches)).filter_map(default_line);
    let defaults: String = defaults.collect();
    let file: Map<String, Value> = [(name.to_string(), Value::Object(table))].into_iter().collect();
    let text = toml::to_string(&file).unwrap_or_default();
    Ok(format!("# The flags of `lora-slim {name}`; those in comments have their default value.\n{text}{defaults}"))
}

/// A number if it is written as one, otherwise a text.
fn value_of(text: &str) -> Value {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text).map_or_else(|| text.into(), Value::from)
}

fn takes_default(arg: &Arg, matches: &ArgMatches) -> bool {
    let takes_values = !matches!(arg.get_action(), ArgAction::SetTrue);
    takes_values && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::DefaultValue)
}

fn default_line(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
    let value = toml::Value::String(values.join(","));
    arg.get_long().map(|name| format!("# {name} = {value}\n"))
}
