//! `LORA_SLIM_*`: flags that the environment sets, under those of the command line and over those of a config file.
//!
//! A variable has the name of its flag: `LORA_SLIM_MAX_SAMPLES=64` is `--max-samples=64`. It becomes a word of the command line, so
//! that clap remains the only parser. One variable serves all commands; those that lack its flag pass over it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches, Command};

use super::{flags, parse, settable};
use crate::error::{ConfigError, Result};

const PREFIX: &str = "LORA_SLIM_";

/// Flags that only a command line can have.
const NEVER_IN_A_VARIABLE: &[&str] = &["help", "version", "print-config"];

/// Variables that stand for no flag: docs/performance.md describes the first, and the others are of the tests.
const NO_FLAGS: [&str; 5] = ["UNIT", "FUZZ_SECONDS", "FUZZ_TARGET", "KILLS", "SEED"];

/// Beginnings of what Kubernetes sets in each container where a service is called `lora-slim`.
const OF_A_SERVICE: [&str; 3] = ["PORT", "SERVICE_HOST", "SERVICE_PORT"];

/// The variables of this program, by their names without the prefix.
#[derive(Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
}

/// What the environment says of a command's flags.
#[derive(Debug, Default)]
pub struct FromEnvironment {
    /// Words to add to the command line.
    pub words: Vec<OsString>,
    /// The variables that gave them.
    pub used: Vec<String>,
    /// Flags that variables switch off, whatever a config file says.
    pub off: Vec<String>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let own = |(name, value): (OsString, OsString)| Some((name.to_str()?.strip_prefix(PREFIX)?.to_string(), value));
        Self { variables: variables.filter_map(own).filter(|(_, value)| !value.is_empty()).collect() }
    }

    /// The flags of `command` that variables set, apart from those that a typed flag overrides.
    pub fn flags(&self, command: &Command, typed: &ArgMatches) -> Result<FromEnvironment> {
        let typed = settable::typed(command, typed);
        let mut found = FromEnvironment::default();
        for arg in flags_of(command).filter(|arg| !typed.iter().any(|typed| flags::excludes(command, typed, arg))) {
            let Some(name) = arg.get_long() else { continue };
            let Some(value) = self.variables.get(&suffix(name)) else { continue };
            let variable = format!("{PREFIX}{}", suffix(name));
            match Setting::of(arg, value) {
                Some(Setting::Off) => found.off.push(name.into()),
                Some(Setting::On) => found.words.push(format!("--{name}").into()),
                Some(Setting::Value) => {
                    let mut word = OsString::from(format!("--{name}="));
                    word.push(value);
                    found.words.push(word);
                }
                None => {
                    let given = value.to_string_lossy().into_owned();
                    return Err(ConfigError::Variable { variable, given }.into());
                }
            }
            if !found.off.iter().any(|off| off == name) {
                found.used.push(variable);
            }
        }
        Ok(found)
    }

    /// The value for a flag that is needed before the command line is understood.
    pub fn value(&self, flag: &str) -> Option<&OsStr> {
        self.variables.get(&suffix(flag)).map(OsString::as_os_str)
    }

    /// One sentence for each variable that no command has a flag for.
    pub fn unknown(&self, cli: &Command) -> Vec<String> {
        let commands = || std::iter::once(cli).chain(cli.get_subcommands());
        let all = || commands().flat_map(flags_of).filter_map(Arg::get_long);
        let known = |name: &str| {
            all().any(|flag| suffix(flag) == name)
                || NO_FLAGS.contains(&name)
                || OF_A_SERVICE.iter().any(|beginning| name.starts_with(beginning))
        };
        let sentence = |name: &String| {
            let flag = name.to_lowercase().replace('_', "-");
            let nearest = parse::nearest(&flag, all());
            let meant = nearest.map_or(String::new(), |flag| format!("; did you mean `{PREFIX}{}`?", suffix(&flag)));
            format!("the variable `{PREFIX}{name}` stands for no flag{meant}")
        };
        self.variables.keys().filter(|name| !known(name)).map(sentence).collect()
    }
}

/// What a variable makes of its flag.
enum Setting {
    On,
    Off,
    Value,
}

impl Setting {
    /// `None` if a switch is given something that is neither yes nor no.
    fn of(arg: &Arg, value: &OsString) -> Option<Self> {
        let count = arg.get_num_args().unwrap_or_default();
        let (is_switch, needs_no_value) = (!arg.get_action().takes_values(), count.min_values() == 0);
        match value.to_string_lossy().to_lowercase().as_str() {
            "1" if is_switch => Some(Self::On),
            "0" if is_switch => Some(Self::Off),
            "true" | "yes" | "on" if is_switch || needs_no_value => Some(Self::On),
            "false" | "no" | "off" if is_switch || needs_no_value => Some(Self::Off),
            _ if is_switch => None,
            _ => Some(Self::Value),
        }
    }
}

/// The flags of a command that a variable may set.
fn flags_of(command: &Command) -> impl Iterator<Item = &Arg> {
    settable::flags_of(command, NEVER_IN_A_VARIABLE)
}

fn suffix(flag: &str) -> String {
    flag.to_uppercase().replace('-', "_")
}
