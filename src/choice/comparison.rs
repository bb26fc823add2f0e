//! Two measurements on the same samples: by how much one is worse, and how surely.

use std::cell::Cell;

use schemars::JsonSchema;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::criterion::Criterion;
use crate::format::percent_text;
use crate::measure::{Measurement, SampleSize};

/// The difference of two costs per answer token, one − other, paired over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; `None` with fewer than two samples.
    pub at_most: Option<f64>,
}

impl Comparison {
    /// Compares two measurements of the same samples by a criterion, with this one-sided confidence.
    pub fn new(criterion: Criterion, one: &Measurement, other: &Measurement, confidence: f64) -> Self {
        let (costs, others) = (criterion.costs(one), criterion.costs(other));
        let differences: Vec<f64> = costs.iter().zip(&others).map(|(a, b)| a - b).collect();
        let difference = criterion.mean(one) - criterion.mean(other);
        let quantile = student_quantile(confidence, draws(&one.sizes).saturating_sub(1));
        let error = standard_error(&differences, &one.sizes);
        Self { difference, at_most: error.map(|error| difference + error * quantile) }
    }

    /// Whether one is better than the other, with the confidence of the bound.
    pub fn is_surely_better(&self) -> bool {
        self.at_most.is_some_and(|most| most < 0.0)
    }
}

/// The figures of a candidate, and how it compares with a reference, usually the whole adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Assessment {
    /// Nats per answer token.
    pub loss: f64,
    /// The share of the adapter's gain over the base model that is kept, (loss(base) − loss) / (loss(base) − loss(whole)); absent
    /// where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss(base) − loss, in nats per answer token.
    pub gain: f64,
    /// The one-sided lower confidence bound of `gain`; absent with fewer than two samples.
    pub gain_at_least: Option<f64>,
    /// loss − loss(reference), in nats per answer token.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// The mean probability of an answer token, given all true tokens before.
    pub token_probability: f64,
    /// token_probability − token_probability(reference).
    pub probability_difference: f64,
    /// The one-sided lower confidence bound of `probability_difference`; absent with fewer than two samples.
    pub probability_difference_at_least: Option<f64>,
    /// The share of answer tokens that are the likeliest, given all true tokens before.
    pub token_accuracy: f64,
    /// The share of samples where all answer tokens are.
    pub exact_match: f64,
    /// Nats per token that ends an answer; absent where it is not known which do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_loss: Option<f64>,
    /// The share of the tokens that end an answer that are the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_accuracy: Option<f64>,
}

impl Assessment {
    /// The figure of a criterion, as people read it.
    pub fn figure_text(&self, criterion: Criterion) -> String {
        match criterion {
            Criterion::Loss => format!("{:.4} nats per token", self.loss),
            Criterion::TokenProbability => format!("a token probability of {:.4}", self.token_probability),
            Criterion::TokenAccuracy => format!("{} of the tokens correct", percent_text(self.token_accuracy)),
        }
    }
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
        let compared = Comparison::new(Criterion::Loss, candidate, other, self.confidence);
        let likely = Comparison::new(Criterion::TokenProbability, candidate, other, self.confidence);
        let to_base = Comparison::new(Criterion::Loss, candidate, self.base, self.confidence);
        let (loss, base, whole) = (candidate.loss(), self.base.loss(), self.whole.loss());
        Assessment {
            loss,
            gain_kept: (base > whole).then(|| (base - loss) / (base - whole)),
            gain: 0.0 - to_base.difference,
            gain_at_least: to_base.at_most.map(|most| 0.0 - most),
            difference: compared.difference,
            difference_at_most: compared.at_most,
            token_probability: candidate.token_probability(),
            probability_difference: 0.0 - likely.difference,
            probability_difference_at_least: likely.at_most.map(|most| 0.0 - most),
            token_accuracy: candidate.token_accuracy(),
            exact_match: candidate.exact_match(),
            end_loss: candidate.at_ends().map(|(loss, _)| loss),
            end_accuracy: candidate.at_ends().map(|(_, accuracy)| accuracy),
        }
    }

    /// A share of the adapter's gain over the base model, per answer token; 0 where it gains nothing.
    pub fn margin(&self, criterion: Criterion, share: f64) -> f64 {
        share * (criterion.mean(self.base) - criterion.mean(self.whole)).max(0.0)
    }

    /// Whether a candidate is, by a criterion and with the confidence of the bound, worse than the whole adapter by no more than a
    /// share of the adapter's gain: on all samples and, if they are sliced, on those of each slice.
    pub fn holds(&self, criterion: Criterion, candidate: &Measurement, share: f64) -> bool {
        let holds_on = |samples: Vec<usize>| {
            let [base, whole] = [self.base, self.whole].map(|measured| measured.select(&samples));
            let reference = Reference { base: &base, whole: &whole, confidence: self.confidence };
            reference.holds_on_all(criterion, &candidate.select(&samples), share)
        };
        self.holds_on_all(criterion, candidate, share) && SampleSize::slices(&candidate.sizes).into_iter().all(holds_on)
    }

    fn holds_on_all(&self, criterion: Criterion, candidate: &Measurement, share: f64) -> bool {
        let compared = Comparison::new(criterion, candidate, self.whole, self.confidence);
        compared.at_most.is_some_and(|most| most <= self.margin(criterion, share))
    }
}

impl Assessment {
    /// Whether it is better than the reference, with the confidence of the bound.
    pub fn is_surely_better(&self) -> bool {
        self.difference_at_most.is_some_and(|most| most < 0.0)
    }
}

/// How many independent draws there are among samples.
pub fn draws(sizes: &[SampleSize]) -> usize {
    let mut seen = vec![false; sizes.iter().map(|size| size.draw + 1).max().unwrap_or(0)];
    sizes.iter().for_each(|size| seen[size.draw] = true);
    seen.into_iter().filter(|&seen| seen).count()
}

/// The standard error of Σ differences / Σ tokens, paired over draws, as a ratio estimator: a draw weighs as much as its samples
/// have tokens (Cochran, Sampling Techniques, 6.4). `None` with fewer than two draws.
pub fn standard_error(differences: &[f64], sizes: &[SampleSize]) -> Option<f64> {
    let n = draws(sizes) as f64;
    if n < 2.0 {
        return None;
    }
    let all_tokens = sizes.iter().map(|size| size.tokens).sum::<usize>() as f64;
    let ratio = differences.iter().sum::<f64>() / all_tokens;
    let mut residuals = vec![0.0; sizes.iter().map(|size| size.draw + 1).max().unwrap_or(0)];
    for (difference, size) in differences.iter().zip(sizes) {
        residuals[size.draw] += difference - ratio * size.tokens as f64;
    }
    let squares = residuals.iter().map(|residual: &f64| residual.powi(2)).sum::<f64>();
    Some((squares * n / (n - 1.0)).sqrt() / all_tokens)
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
    use crate::measure::SampleScore;

    fn measured(losses: &[f64]) -> Measurement {
        Measurement::of_losses(losses, &vec![1; losses.len()])
    }

    #[test]
    fn the_bound_is_that_of_a_mean_when_weights_are_equal() {
        let sizes = [0, 1, 2, 3].map(|draw| SampleSize { tokens: 1, ends: 0, draw, slice: 0 });
        // mean 2.5, s = 1.29099, s/√4 = 0.645497; t(0.95, 3) = 2.353363 (scipy.stats.t.ppf)
        let error = standard_error(&[1.0, 2.0, 3.0, 4.0], &sizes).unwrap();
        assert!((error - 0.645_497_224).abs() < 1e-8, "{error}");
        assert!((student_quantile(0.95, 3) - 2.353_363_435).abs() < 1e-6);
        let comparison = Comparison::new(Criterion::Loss, &measured(&[2.0, 3.0, 4.0, 5.0]), &measured(&[1.0; 4]), 0.95);
        assert_eq!(comparison.difference, 2.5);
        assert!((comparison.at_most.unwrap() - (2.5 + 0.645_497_224 * 2.353_363_435)).abs() < 1e-6);
    }

    #[test]
    fn copies_of_a_sample_are_one_draw() {
        let once = [0, 1, 2, 3].map(|draw| SampleSize { tokens: 1, ends: 0, draw, slice: 0 });
        let twice = once.map(|size| [size; 2]).concat();
        assert_eq!(draws(&twice), 4);
        let error = standard_error(&[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0], &twice).unwrap();
        assert!((error - standard_error(&[1.0, 2.0, 3.0, 4.0], &once).unwrap()).abs() < 1e-12, "{error}");
        assert_eq!(standard_error(&[1.0, 2.0], &[once[0]; 2]), None);
    }

    #[test]
    fn what_holds_on_average_has_to_hold_in_each_slice() {
        let sized = |slice_of: fn(usize) -> usize, losses: &[f64]| Measurement {
            scores: losses.iter().copied().map(SampleScore::of_loss).collect(),
            sizes: (0..losses.len())
                .map(|draw| SampleSize { tokens: 1, ends: 0, draw, slice: slice_of(draw) })
                .collect(),
        };
        // Better on the first six samples, worse on the last two.
        let holds = |slice_of: fn(usize) -> usize| {
            let [base, whole, candidate] =
                [[3.0; 8], [1.0; 8], [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 1.05, 1.05]].map(|losses| sized(slice_of, &losses));
            Reference { base: &base, whole: &whole, confidence: 0.95 }.holds(Criterion::Loss, &candidate, 0.02)
        };
        assert!(holds(|_| 0));
        assert!(!holds(|draw| usize::from(draw >= 6)));
        assert!(holds(|draw| draw % 2), "each half has a bad one");
    }

    #[test]
    fn one_sample_shows_a_difference_and_proves_none() {
        let two_tokens = |loss| Measurement::of_losses(&[loss], &[2]);
        let comparison = Comparison::new(Criterion::Loss, &two_tokens(1.0), &two_tokens(2.0), 0.95);
        assert_eq!((comparison.difference, comparison.at_most), (-0.5, None));
        assert!(!comparison.is_surely_better());
        assert!(
            Comparison::new(Criterion::Loss, &measured(&[1.0, 2.0]), &measured(&[2.0, 3.0]), 0.95).is_surely_better()
        );
    }
}
