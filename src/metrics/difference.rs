//! The confidence of a difference between two scores, by the paired bootstrap (Koehn 2004, Statistical Significance Tests for
//! Machine Translation Evaluation), which requires only that a metric's counts add up.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Metric, summed};

/// The number of resamplings and the seed of their random numbers, fixed so that the same run gives the same report.
const RESAMPLES: usize = 1000;
const SEED: u64 = 0;

/// The difference of two scores on the same samples, from −100 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    pub difference: f64,
    /// One-sided confidence bounds; absent with fewer than two samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference_at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference_at_most: Option<f64>,
}

impl Difference {
    /// The score of `one` minus that of `other`, given as counts of the same samples, with bounds of this one-sided confidence.
    pub fn of(metric: Metric, one: &[Vec<f64>], other: &[Vec<f64>], confidence: f64) -> Self {
        let on = |places: &mut dyn Iterator<Item = usize>| {
            let places: Vec<usize> = places.collect();
            let score = |counts: &[Vec<f64>]| metric.score(&summed(places.iter().map(|&place| &counts[place])));
            score(one) - score(other)
        };
        let n = one.len();
        let difference = on(&mut (0..n));
        if n < 2 {
            return Self { difference, difference_at_least: None, difference_at_most: None };
        }
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut drawn: Vec<f64> = (0..RESAMPLES)
            .map(|_| on(&mut (0..n).map(|_| random.usize(..n)).collect::<Vec<_>>().into_iter()))
            .collect();
        drawn.sort_by(f64::total_cmp);
        let rank = ((1.0 - confidence) * (RESAMPLES - 1) as f64).floor() as usize;
        let (least, most) = (drawn[rank], drawn[RESAMPLES - 1 - rank]);
        Self { difference, difference_at_least: Some(least), difference_at_most: Some(most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(answers: &[&str]) -> Vec<Vec<f64>> {
        answers.iter().map(|answer| Metric::ExactMatch.counts(answer, "yes")).collect()
    }

    #[test]
    fn bounds_are_about_those_of_the_normal_distribution() {
        // 30 of 100 are lost: a standard error of √(0.3 · 0.7 / 100), 4.58 points.
        let whole = counts(&["yes"; 100]);
        let cut = counts(&[["yes"; 70].as_slice(), &["no"; 30]].concat());
        let found = Difference::of(Metric::ExactMatch, &cut, &whole, 0.95);
        assert!((found.difference + 30.0).abs() < 1e-9);
        assert!((found.difference_at_least.unwrap() + 30.0 + 1.645 * 4.58).abs() < 1.1, "{found:?}");
        assert!((found.difference_at_most.unwrap() + 30.0 - 1.645 * 4.58).abs() < 1.1, "{found:?}");
    }

    #[test]
    fn equal_answers_do_not_differ() {
        let same = counts(&["yes", "no", "yes"]);
        let found = Difference::of(Metric::ExactMatch, &same, &same, 0.95);
        assert_eq!(
            (found.difference, found.difference_at_least, found.difference_at_most),
            (0.0, Some(0.0), Some(0.0))
        );
        assert_eq!(Difference::of(Metric::ExactMatch, &same[..1], &same[..1], 0.95).difference_at_most, None);
    }
}
