//! The flags of gates, from the table of gates.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::choice::gates::{GATES, Gate, Gates};

/// Gates as flags: all of them for an evaluation (`EVALUATED`), otherwise those that need no samples.
#[derive(Debug, Default)]
pub struct GateArgs<const EVALUATED: bool> {
    pub gates: Gates,
}

fn offered(is_evaluated: bool) -> impl Iterator<Item = &'static dyn Gate> {
    GATES.into_iter().filter(move |gate| is_evaluated || !gate.needs_samples())
}

impl<const EVALUATED: bool> Args for GateArgs<EVALUATED> {
    fn augment_args(command: Command) -> Command {
        let arg = |gate: &'static dyn Gate| {
            let arg = Arg::new(gate.name()).long(gate.name()).value_name(gate.value_name()).help(gate.help());
            let arg = arg.allow_hyphen_values(true).value_parser(move |text: &str| gate.parse(text));
            match gate.default_value() {
                Some(value) => arg.num_args(0..=1).require_equals(true).default_missing_value(value),
                None => arg,
            }
        };
        command.args(offered(EVALUATED).map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const EVALUATED: bool> FromArgMatches for GateArgs<EVALUATED> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let asked = |gate: &'static dyn Gate| Some((gate, *matches.get_one::<f64>(gate.name())?));
        Ok(Self { gates: Gates(offered(EVALUATED).filter_map(asked).collect()) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
