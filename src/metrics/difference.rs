//! The confidence of a difference between two scores, by the paired bootstrap (Koehn 2004, Statistical Significance Tests for
//! Machine Translation Evaluation), which requires only that a metric's counts add up.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Score, summed};

/// The number of resamplings and the seed of their random numbers, fixed so that the same run gives the same report.
const RESAMPLES: usize = 1000;
const SEED: u64 = 0;

/// The difference of two scores on the same samples, from −100 to 100 for those of metrics.
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
    /// `draws` are the samples of each independent draw: what is resampled.
    pub fn of(kind: Score, one: &[Vec<f64>], other: &[Vec<f64>], draws: &[Vec<usize>], confidence: f64) -> Self {
        let of_draws = |counts: &[Vec<f64>]| -> Vec<Vec<f64>> {
            draws.iter().map(|samples| summed(samples.iter().map(|&sample| &counts[sample]))).collect()
        };
        let (one, other) = (of_draws(one), of_draws(other));
        let on = |places: &[usize]| {
            let score = |counts: &[Vec<f64>]| kind.of_counts(&summed(places.iter().map(|&place| &counts[place])));
            score(&one) - score(&other)
        };
        let n = draws.len();
        let difference = on(&(0..n).collect::<Vec<_>>());
        if n < 2 {
            return Self { difference, difference_at_least: None, difference_at_most: None };
        }
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut drawn: Vec<f64> =
            (0..RESAMPLES).map(|_| on(&(0..n).map(|_| random.usize(..n)).collect::<Vec<_>>())).collect();
        drawn.sort_by(f64::total_cmp);
        let rank = ((1.0 - confidence) * (RESAMPLES - 1) as f64).floor() as usize;
        let (least, most) = (drawn[rank], drawn[RESAMPLES - 1 - rank]);
        Self { difference, difference_at_least: Some(least), difference_at_most: Some(most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    fn counts(answers: &[&str]) -> Vec<Vec<f64>> {
        answers.iter().map(|answer| Metric::ExactMatch.counts(answer, "yes")).collect()
    }

    fn difference(one: &[Vec<f64>], other: &[Vec<f64>]) -> Difference {
        let each: Vec<Vec<usize>> = (0..one.len()).map(|sample| vec![sample]).collect();
        Difference::of(Score::Metric(Metric::ExactMatch), one, other, &each, 0.95)
    }

    #[test]
    fn bounds_are_about_those_of_the_normal_distribution() {
        // 30 of 100 are lost: a standard error of √(0.3 · 0.7 / 100), 4.58 points.
        let whole = counts(&["yes"; 100]);
        let cut = counts(&[["yes"; 70].as_slice(), &["no"; 30]].concat());
        let found = difference(&cut, &whole);
        assert!((found.difference + 30.0).abs() < 1e-9);
        assert!((found.difference_at_least.unwrap() + 30.0 + 1.645 * 4.58).abs() < 1.1, "{found:?}");
        assert!((found.difference_at_most.unwrap() + 30.0 - 1.645 * 4.58).abs() < 1.1, "{found:?}");
    }

    #[test]
    fn copies_prove_no_more_than_one() {
        let (whole, cut) = (counts(&["yes"; 40]), counts(&[["yes"; 28].as_slice(), &["no"; 12]].concat()));
        let twice: Vec<Vec<usize>> = (0..20).map(|draw| vec![2 * draw, 2 * draw + 1]).collect();
        let of_pairs = Difference::of(Score::Metric(Metric::ExactMatch), &cut, &whole, &twice, 0.95);
        let of_each = difference(&cut, &whole);
        let width = |found: Difference| found.difference_at_most.unwrap() - found.difference_at_least.unwrap();
        assert_eq!(of_pairs.difference, of_each.difference);
        let ratio = width(of_pairs) / width(of_each);
        assert!((ratio - 2f64.sqrt()).abs() < 0.2, "{ratio}");
    }

    #[test]
    fn equal_answers_do_not_differ() {
        let same = counts(&["yes", "no", "yes"]);
        let found = difference(&same, &same);
        assert_eq!(
            (found.difference, found.difference_at_least, found.difference_at_most),
            (0.0, Some(0.0), Some(0.0))
        );
        assert_eq!(difference(&same[..1], &same[..1]).difference_at_most, None);
    }
}
