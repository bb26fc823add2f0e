//! What a model does on samples with some profile of an adapter: the one measurement behind every figure.

use std::sync::Arc;

/// The losses and the correct tokens of each sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurement {
    /// Negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub losses: Vec<f64>,
    /// How many answer tokens of each sample are correct: no other token is likelier, given all tokens before.
    pub correct: Vec<usize>,
    /// The answer tokens of each sample; shared by all measurements on the same samples.
    pub tokens: Arc<[usize]>,
}

impl Measurement {
    /// A measurement of samples with so many answer tokens, to be filled in.
    pub fn zero(tokens: Arc<[usize]>) -> Self {
        Self { losses: vec![0.0; tokens.len()], correct: vec![0; tokens.len()], tokens }
    }

    /// The mean loss in nats per answer token.
    pub fn loss(&self) -> f64 {
        mean(&self.losses, &self.tokens)
    }

    /// The share of answer tokens that are correct.
    pub fn token_accuracy(&self) -> f64 {
        self.correct.iter().sum::<usize>() as f64 / self.tokens.iter().sum::<usize>() as f64
    }

    /// The share of samples all of whose answer tokens are correct.
    pub fn exact_match(&self) -> f64 {
        let matches = self.correct.iter().zip(&*self.tokens).filter(|(correct, tokens)| correct == tokens);
        matches.count() as f64 / self.tokens.len() as f64
    }

    /// The measurement on some of its samples, given by their indices, which may repeat.
    pub fn select(&self, samples: &[usize]) -> Self {
        self.select_with(samples, samples.iter().map(|&sample| self.tokens[sample]).collect())
    }

    /// As [`select`](Self::select), where the `tokens` of those samples are known.
    pub(crate) fn select_with(&self, samples: &[usize], tokens: Arc<[usize]>) -> Self {
        Self {
            losses: samples.iter().map(|&sample| self.losses[sample]).collect(),
            // A measurement that was made of losses alone has no counts, before and after.
            correct: samples.iter().filter_map(|&sample| self.correct.get(sample).copied()).collect(),
            tokens,
        }
    }
}

/// The mean per answer token of values that are sums over each sample's answer tokens.
pub fn mean(sums: &[f64], tokens: &[usize]) -> f64 {
    sums.iter().sum::<f64>() / tokens.iter().sum::<usize>() as f64
}

/// A boundary, measured: the adapter is on in the layers below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    pub boundary: usize,
    pub measurement: Measurement,
}

/// The measurements of an adapter's boundaries, lowest first: the first is the base model, the last the whole adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub points: Vec<Point>,
    /// What it cost.
    pub work: Work,
}

impl Curve {
    /// The answer tokens of each sample.
    pub fn tokens(&self) -> &Arc<[usize]> {
        &self.points[0].measurement.tokens
    }

    /// The measurement of a boundary, if the curve has it.
    pub fn at(&self, boundary: usize) -> Option<&Measurement> {
        self.points.iter().find(|point| point.boundary == boundary).map(|point| &point.measurement)
    }

    /// The base model alone.
    pub fn base(&self) -> &Point {
        &self.points[0]
    }

    /// The whole adapter.
    pub fn whole(&self) -> &Point {
        &self.points[self.points.len() - 1]
    }

    /// The curve on some of its samples, given by their indices, which may repeat.
    pub fn select(&self, samples: &[usize]) -> Self {
        let tokens: Arc<[usize]> = samples.iter().map(|&sample| self.tokens()[sample]).collect();
        let select = |point: &Point| Point {
            boundary: point.boundary,
            measurement: point.measurement.select_with(samples, tokens.clone()),
        };
        Self { points: self.points.iter().map(select).collect(), work: self.work }
    }
}

/// What measuring cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// How often the base weights were read.
    pub passes: usize,
    /// Tokens times layers that went through the decoder. What several adapters share counts for the first of them.
    pub layer_tokens: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.passes += other.passes;
        self.layer_tokens += other.layer_tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_tokens_and_exact_match_samples() {
        let measurement = Measurement { losses: vec![1.0; 4], correct: vec![1, 1, 3, 2], tokens: [1, 2, 3, 4].into() };
        assert_eq!(measurement.token_accuracy(), 0.7);
        assert_eq!(measurement.exact_match(), 0.5);
        assert_eq!(measurement.select(&[0, 0, 3]).token_accuracy(), 4.0 / 6.0);
    }
}
