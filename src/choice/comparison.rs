//! Two measurements on the same samples: by how much one is worse, and how surely.

use std::cell::Cell;

use schemars::JsonSchema;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::measure::Measurement;

/// The difference of two losses in nats per answer token, one − other, paired over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; `None` with fewer than two samples.
    pub at_most: Option<f64>,
}

impl Comparison {
    /// Compares two measurements of the same samples with this one-sided confidence.
    pub fn new(one: &Measurement, other: &Measurement, confidence: f64) -> Self {
        let differences: Vec<f64> = one.losses.iter().zip(&other.losses).map(|(a, b)| a - b).collect();
        let difference = one.loss() - other.loss();
        let quantile = student_quantile(confidence, one.tokens.len().saturating_sub(1));
        let error = standard_error(&differences, &one.tokens);
        Self { difference, at_most: error.map(|error| difference + error * quantile) }
    }

    /// Whether one is better than the other, with the confidence of the bound.
    pub fn is_surely_better(&self) -> bool {
        self.at_most.is_some_and(|most| most < 0.0)
    }
}

/// The figures of a candidate, and how it compares with a reference, usually the whole adapter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Assessment {
    /// Nats per answer token.
    pub loss: f64,
    /// The share of the adapter's gain over the base model that is kept, (loss(base) − loss) / (loss(base) − loss(whole)); absent
    /// where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss − loss(reference), in nats per answer token.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// The share of answer tokens that are the likeliest, given all true tokens before.
    pub token_accuracy: f64,
    /// The share of samples where all answer tokens are.
    pub exact_match: f64,
}

/// What candidates are compared with: the base model and the whole adapter on the same samples.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    pub base: &'a Measurement,
    pub whole: &'a Measurement,
    /// The one-sided confidence of each upper bound.
    pub confidence: f64,
}

impl Reference<'_> {
    /// Compares a candidate with the whole adapter.
    pub fn assess(&self, candidate: &Measurement) -> Assessment {
        self.assess_against(candidate, self.whole)
    }

    /// Compares a candidate with another one.
    pub fn assess_against(&self, candidate: &Measurement, other: &Measurement) -> Assessment {
        let compared = Comparison::new(candidate, other, self.confidence);
        let (loss, base, whole) = (candidate.loss(), self.base.loss(), self.whole.loss());
        Assessment {
            loss,
            gain_kept: (base > whole).then(|| (base - loss) / (base - whole)),
            difference: compared.difference,
            difference_at_most: compared.at_most,
            token_accuracy: candidate.token_accuracy(),
            exact_match: candidate.exact_match(),
        }
    }

    /// A share of the adapter's gain over the base model, in nats per answer token; 0 where it gains nothing.
    pub fn margin(&self, share: f64) -> f64 {
        share * (self.base.loss() - self.whole.loss()).max(0.0)
    }
}

impl Assessment {
    /// Whether it is better than the reference, with the confidence of the bound.
    pub fn is_surely_better(&self) -> bool {
        self.difference_at_most.is_some_and(|most| most < 0.0)
    }

    /// Whether it is at most `margin` nats worse than the reference, with the confidence of the bound.
    pub fn is_surely_within(&self, margin: f64) -> bool {
        self.difference_at_most.is_some_and(|most| most <= margin)
    }
}

/// The standard error of Σ differences / Σ tokens, paired over samples, as a ratio estimator: a sample weighs as much as
/// it has tokens (Cochran, Sampling Techniques, 6.4). `None` with fewer than two samples.
pub fn standard_error(differences: &[f64], tokens: &[usize]) -> Option<f64> {
    let n = differences.len() as f64;
    if differences.len() < 2 {
        return None;
    }
    let all_tokens = tokens.iter().sum::<usize>() as f64;
    let ratio = differences.iter().sum::<f64>() / all_tokens;
    let residuals = differences.iter().zip(tokens).map(|(d, &t)| (d - ratio * t as f64).powi(2)).sum::<f64>();
    Some((residuals * n / (n - 1.0)).sqrt() / all_tokens)
}

/// Student's quantile, which is the bound of a mean whose standard error is estimated from the same samples.
pub fn student_quantile(confidence: f64, freedom: usize) -> f64 {
    thread_local! {
        // A thousand resamplings ask for the same quantile, at every boundary.
        static LAST: Cell<(f64, usize, f64)> = const { Cell::new((f64::NAN, 0, f64::NAN)) };
    }
    let (of_confidence, of_freedom, known) = LAST.get();
    if (of_confidence, of_freedom) == (confidence, freedom) {
        return known;
    }
    let student = StudentsT::new(0.0, 1.0, freedom as f64);
    let quantile = student.map_or(f64::INFINITY, |student| student.inverse_cdf(confidence));
    LAST.set((confidence, freedom, quantile));
    quantile
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(losses: &[f64]) -> Measurement {
        Measurement { losses: losses.into(), correct: vec![0; losses.len()], tokens: vec![1; losses.len()].into() }
    }

    #[test]
    fn the_bound_is_that_of_a_mean_when_weights_are_equal() {
        // mean 2.5, s = 1.29099, s/√4 = 0.645497; t(0.95, 3) = 2.353363 (scipy.stats.t.ppf)
        let error = standard_error(&[1.0, 2.0, 3.0, 4.0], &[1; 4]).unwrap();
        assert!((error - 0.645_497_224).abs() < 1e-8, "{error}");
        assert!((student_quantile(0.95, 3) - 2.353_363_435).abs() < 1e-6);
        let comparison = Comparison::new(&measured(&[2.0, 3.0, 4.0, 5.0]), &measured(&[1.0; 4]), 0.95);
        assert_eq!(comparison.difference, 2.5);
        assert!((comparison.at_most.unwrap() - (2.5 + 0.645_497_224 * 2.353_363_435)).abs() < 1e-6);
    }

    #[test]
    fn one_sample_shows_a_difference_and_proves_none() {
        let two_tokens = |loss| Measurement { losses: vec![loss], correct: vec![0], tokens: [2].into() };
        let comparison = Comparison::new(&two_tokens(1.0), &two_tokens(2.0), 0.95);
        assert_eq!((comparison.difference, comparison.at_most), (-0.5, None));
        assert!(!comparison.is_surely_better());
        assert!(Comparison::new(&measured(&[1.0, 2.0]), &measured(&[2.0, 3.0]), 0.95).is_surely_better());
    }
}
