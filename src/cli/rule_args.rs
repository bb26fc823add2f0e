//! The values of `--choose`, from the table of rules.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::choice::Basis;
use crate::choice::rules::{self, RULES, Rule};

/// Parses the name of a rule that the user may choose.
#[derive(Clone)]
pub struct RuleParser;

impl TypedValueParser for RuleParser {
    type Value = &'static dyn Rule;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Self::Value, Error> {
        let name = PossibleValuesParser::new(names()).parse_ref(command, arg, value)?;
        Ok(rules::by_name(&name).unwrap_or(rules::SMALLEST))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(names()))
    }
}

/// A boundary that the user names has a flag of its own.
fn names() -> impl Iterator<Item = PossibleValue> {
    let offered = RULES.iter().filter(|rule| rule.basis() != Basis::User);
    offered.map(|rule| PossibleValue::new(rule.name()).help(rule.help()))
}
