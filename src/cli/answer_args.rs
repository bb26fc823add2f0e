//! The flags of generated answers.

use std::collections::BTreeSet;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::parse;
use crate::choice::By;
use crate::metrics::Metric;
use crate::rewrite::parse_layers;

/// Which answers are generated, and how they are scored.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Measure that the rule judges boundaries by: of the true tokens (loss, accuracy: how many greedy decoding gets right), or of
    /// generated answers, at the boundaries that the guard leaves
    #[arg(long, value_name = "MEASURE", value_parser = by_parser(), default_value = "loss",
        conflicts_with_all = ["boundary", "one_standard_error"])]
    pub by: By,
    /// Program that scores answers, a command line of the shell: it reads a JSON object a line, with prompt, reference, answer and
    /// line, and writes a number a line, the higher the better
    #[arg(long, value_name = "CMD")]
    pub scorer: Option<String>,
    /// With --scorer: the seconds that it may take for an answer [default: 60]
    #[arg(long, value_name = "SECONDS", requires = "scorer", value_parser = parse::seconds)]
    pub scorer_limit: Option<std::time::Duration>,
    /// Also generate answers and score them; the scores do not choose
    ///
    /// At the chosen boundary, the two lowest losses, for the base model and the whole adapter; on held-out samples if there
    /// are any.
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub metric: Vec<Metric>,
    /// With --metric or --by: text that ends an answer where it is served, for example \n; repeat it for several
    #[arg(long, value_name = "TEXT", value_parser = parse::escaped, allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Do not score the tokens that end answers, for an adapter that is served with --stop
    #[arg(long)]
    pub ignore_end: bool,
    /// With --metric or --by: also score the answers at these boundaries, for example 0,16-30
    #[arg(long, value_name = "BOUNDARIES", value_parser = parse_layers)]
    pub answers_at: Option<BTreeSet<usize>>,
    /// With --metric, --by or --own-answers: the most tokens of an answer [default: 128; with --by half as many again as the longest
    /// reference has, but no more than that]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_new_tokens: Option<u64>,
    /// With --metric or --by: write the generated answers into the JSON report
    #[arg(long)]
    pub with_texts: bool,
}

fn by_parser() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(By::all().map(|by| PossibleValue::new(by.name())))
        .map(|name| By::named(&name).unwrap_or_default())
}
