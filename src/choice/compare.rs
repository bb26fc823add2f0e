//! Two evaluations on the same samples: by how much one is worse, and how surely.

use std::cell::Cell;

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The difference of two losses in nats per answer token, one − other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; `None` with fewer than two samples.
    pub at_most: Option<f64>,
}

impl Comparison {
    /// Compares the summed losses of samples that have so many answer `tokens`, in pairs.
    pub fn new(one: &[f64], other: &[f64], tokens: &[usize], confidence: f64) -> Self {
        let differences: Vec<f64> = one.iter().zip(other).map(|(a, b)| a - b).collect();
        let difference = mean(one, tokens) - mean(other, tokens);
        let quantile = student_quantile(confidence, tokens.len().saturating_sub(1));
        let error = standard_error(&differences, tokens);
        Self { difference, at_most: error.map(|error| difference + error * quantile) }
    }

    /// Whether one is better than the other, with the confidence of the bound.
    pub fn is_surely_better(&self) -> bool {
        self.at_most.is_some_and(|most| most < 0.0)
    }
}

/// The mean loss per answer token.
pub fn mean(losses: &[f64], tokens: &[usize]) -> f64 {
    losses.iter().sum::<f64>() / tokens.iter().sum::<usize>() as f64
}

/// The share of the gain from `base` to `whole`, two mean losses, that `loss` keeps; `None` where there is no gain.
pub fn gain_kept(loss: f64, base: f64, whole: f64) -> Option<f64> {
    (base > whole).then(|| (base - loss) / (base - whole))
}

/// The share of answer tokens that are `right`, given by sample.
pub fn token_accuracy(right: &[usize], tokens: &[usize]) -> f64 {
    right.iter().sum::<usize>() as f64 / tokens.iter().sum::<usize>() as f64
}

/// The share of samples all of whose answer tokens are `right`.
pub fn exact_match(right: &[usize], tokens: &[usize]) -> f64 {
    right.iter().zip(tokens).filter(|(right, tokens)| right == tokens).count() as f64 / tokens.len() as f64
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
        // A thousand resamplings ask for the same one, at every boundary.
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

    #[test]
    fn the_bound_is_that_of_a_mean_when_weights_are_equal() {
        // mean 2.5, s = 1.29099, s/√4 = 0.645497; t(0.95, 3) = 2.353363 (scipy.stats.t.ppf)
        let error = standard_error(&[1.0, 2.0, 3.0, 4.0], &[1; 4]).unwrap();
        assert!((error - 0.645_497_224).abs() < 1e-8, "{error}");
        assert!((student_quantile(0.95, 3) - 2.353_363_435).abs() < 1e-6);
        let comparison = Comparison::new(&[2.0, 3.0, 4.0, 5.0], &[1.0; 4], &[1; 4], 0.95);
        assert_eq!(comparison.difference, 2.5);
        assert!((comparison.at_most.unwrap() - (2.5 + 0.645_497_224 * 2.353_363_435)).abs() < 1e-6);
    }

    #[test]
    fn one_sample_shows_a_difference_and_proves_none() {
        let comparison = Comparison::new(&[1.0], &[2.0], &[2], 0.95);
        assert_eq!((comparison.difference, comparison.at_most), (-0.5, None));
        assert!(!comparison.is_surely_better());
        assert!(Comparison::new(&[1.0, 2.0], &[2.0, 3.0], &[1, 1], 0.95).is_surely_better());
    }
}
