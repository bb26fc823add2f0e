//! The flags of the rewriting steps and of the output format, built from their tables.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::export::Format;
use crate::rewrite::steps::{FlagValue, Purpose, STEPS, SharedStep, StepFlag};

/// The steps that the command line asks for, of those that make an adapter smaller or, if not `SMALLER`, that make it fit runtimes.
#[derive(Debug, Clone, Default)]
pub struct StepArgs<const SMALLER: bool> {
    pub steps: Vec<SharedStep>,
}

pub type SizeStepArgs = StepArgs<true>;
pub type RuntimeStepArgs = StepArgs<false>;

impl<const SMALLER: bool> StepArgs<SMALLER> {
    fn flags() -> impl Iterator<Item = &'static StepFlag> {
        let purpose = if SMALLER { Purpose::Size } else { Purpose::Runtimes };
        STEPS.into_iter().filter(move |flag| flag.purpose == purpose)
    }
}

impl<const SMALLER: bool> Args for StepArgs<SMALLER> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::flags().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const SMALLER: bool> FromArgMatches for StepArgs<SMALLER> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { steps: Self::flags().filter_map(|flag| step(flag, matches).transpose()).collect::<Result<_, _>>()? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flags of all steps, by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    STEPS.into_iter().map(|flag| flag.name)
}

fn arg(flag: &'static StepFlag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
    let parse = |text: &str| (flag.parse)(Some(text));
    match &flag.value {
        FlagValue::None => arg.action(ArgAction::SetTrue),
        FlagValue::Required(name) => arg.value_name(*name).value_parser(parse),
        FlagValue::Optional(name) => arg.value_name(*name).num_args(0..=1).require_equals(true).value_parser(parse),
        FlagValue::OneOf(name, values) => {
            let values = values.iter().map(|&(name, help)| match help {
                Some(help) => PossibleValue::new(name).help(help),
                None => PossibleValue::new(name),
            });
            let parser = PossibleValuesParser::new(values).try_map(|text| (flag.parse)(Some(&text)));
            arg.value_name(*name).value_parser(parser)
        }
    }
}

/// The step of a flag, if it was given.
fn step(flag: &StepFlag, matches: &ArgMatches) -> Result<Option<SharedStep>, clap::Error> {
    let is_given = match flag.value {
        FlagValue::None => matches.get_flag(flag.name),
        _ => matches.contains_id(flag.name),
    };
    let value = match flag.value {
        FlagValue::None => None,
        _ => matches.get_one::<SharedStep>(flag.name).cloned(),
    };
    let alone = || (flag.parse)(None).map_err(|error| clap::Error::raw(clap::error::ErrorKind::InvalidValue, error));
    if is_given { value.map_or_else(alone, Ok).map(Some) } else { Ok(None) }
}

/// Parses the name of an output format.
pub fn format_parser() -> impl TypedValueParser<Value = Format> {
    let values = Format::ALL.map(|format| PossibleValue::new(format.name()).help(format.help()));
    PossibleValuesParser::new(values).map(|name| Format::by_name(&name).unwrap_or_default())
}
