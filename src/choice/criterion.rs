//! What a choice is judged by.
//!
//! Every criterion is a cost: a number for each sample, summed over its answer tokens, of which less is better. So all of them are
//! compared, bounded and searched in the same way.

use schemars::JsonSchema;
use serde::Serialize;

use crate::measure::{Measurement, SampleScore, SampleSize};

/// A measure of quality, per answer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The negative log-likelihood of the true tokens, in nats. Being less sure of everything can lower it.
    Loss,
    /// The probability of the true tokens: how many of them sampling would get right. It moves with the correct tokens, but has
    /// less noise.
    TokenProbability,
    /// The share of the true tokens that are the likeliest ones: what greedy decoding would get right.
    TokenAccuracy,
}

impl Criterion {
    /// What a sample costs: nats, or tokens that are wrong.
    pub fn cost(self, score: &SampleScore, size: &SampleSize) -> f64 {
        match self {
            Self::Loss => score.loss,
            Self::TokenProbability => size.tokens as f64 - score.probability,
            Self::TokenAccuracy => (size.tokens - score.correct) as f64,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::TokenProbability => "the probability of the true tokens",
            Self::TokenAccuracy => "token accuracy",
        }
    }

    /// A short name for tables.
    pub fn short(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::TokenProbability => "probability",
            Self::TokenAccuracy => "accuracy",
        }
    }

    /// What each sample costs.
    pub fn costs(self, measurement: &Measurement) -> Vec<f64> {
        let pairs = measurement.scores.iter().zip(&*measurement.sizes);
        pairs.map(|(score, size)| self.cost(score, size)).collect()
    }

    /// The cost per answer token.
    pub fn mean(self, measurement: &Measurement) -> f64 {
        let tokens: usize = measurement.sizes.iter().map(|size| size.tokens).sum();
        self.costs(measurement).iter().sum::<f64>() / tokens as f64
    }
}
