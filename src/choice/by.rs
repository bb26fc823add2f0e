//! What a rule judges boundaries by, as the user names it.

use super::Criterion;
use crate::metrics::Score;

/// What a rule judges boundaries by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A measure of the true tokens.
    Tokens(Criterion),
    /// A score of generated answers.
    Answers(Score),
}

impl By {
    /// All of them, the default first.
    pub fn all() -> impl Iterator<Item = Self> {
        let tokens = [Criterion::Loss, Criterion::TokenAccuracy].map(Self::Tokens);
        tokens.into_iter().chain(Score::all().map(Self::Answers))
    }

    /// The name in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens(Criterion::TokenAccuracy) => "accuracy",
            Self::Tokens(_) => "loss",
            Self::Answers(score) => score.name(),
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|by| by.name() == name)
    }
}

impl Default for By {
    fn default() -> Self {
        Self::Tokens(Criterion::Loss)
    }
}
