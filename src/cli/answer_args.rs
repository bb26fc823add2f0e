//! The flags of generated answers.

use std::collections::BTreeSet;

use clap::Args;

use crate::metrics::Metric;
use crate::rewrite::parse_layers;

/// Which answers are generated, and how they are scored.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Also generate answers and score them, at the chosen boundary, the two lowest losses, for the base model and the whole
    /// adapter; on held-out samples if there are any. The scores do not choose
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub metric: Vec<Metric>,
    /// With --metric: also score the answers at these boundaries, for example 0,16-30
    #[arg(long, value_name = "BOUNDARIES", requires = "metric", value_parser = parse_layers)]
    pub answers_at: Option<BTreeSet<usize>>,
    /// With --metric: the most tokens of an answer [default: 128]
    #[arg(long, value_name = "N", requires = "metric", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_new_tokens: Option<u64>,
    /// With --metric: write the generated answers into the JSON report
    #[arg(long, requires = "metric")]
    pub with_texts: bool,
}
