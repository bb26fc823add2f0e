//! How much a choice depends on the particular samples.
//!
//! The bootstrap: draw as many samples as there are, with replacement, choose by the same rule on these, and count. A draw
//! differs from the samples about as much as other samples of their kind would.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Basis, ChoiceOptions, choose};
use crate::measure::{Curve, SampleSize};

/// The number of resamplings, and the seed, which is fixed so that the same run gives the same report.
pub const RESAMPLES: usize = 1000;
const SEED: u64 = 0;

/// How often a boundary is chosen on samples drawn from the samples.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Share {
    pub boundary: usize,
    pub share: f64,
}

/// The boundaries that resampled samples choose by their losses, lowest first. Empty if it would say nothing: the user named the
/// boundary, or there is only one sample.
pub fn stability(curve: &Curve, options: &ChoiceOptions, allowed: impl Fn(usize) -> bool) -> Vec<Share> {
    match options.rule.basis() {
        Basis::Losses => {
            let draws = SampleSize::draws(curve.sizes());
            let choose = |drawn: &[&Vec<usize>]| choose(&curve.resample(drawn.iter().copied()), options, &allowed);
            of_resamples(&draws, |drawn| choose(drawn).boundary())
        }
        Basis::Probability | Basis::User => Vec::new(),
    }
}

/// How often each boundary is chosen on resampled draws, each of which has the indices of its samples.
pub(super) fn of_resamples(draws: &[Vec<usize>], choose: impl Fn(&[&Vec<usize>]) -> usize) -> Vec<Share> {
    let n = draws.len();
    if n < 2 {
        return Vec::new();
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..RESAMPLES {
        let drawn: Vec<&Vec<usize>> = (0..n).map(|_| &draws[random.usize(..n)]).collect();
        *counts.entry(choose(&drawn)).or_default() += 1;
    }
    let share = |(boundary, count)| Share { boundary, share: count as f64 / RESAMPLES as f64 };
    counts.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::rules::{BEST, BOUNDARY, Rule, SMALLEST};
    use crate::measure::{Measurement, Point};

    /// Boundaries 0 to 4 on samples of two tokens each; `noise` is what sample `i` adds at boundary 3.
    fn curve(samples: usize, noise: impl Fn(usize) -> f64) -> Curve {
        let measured = |boundary: usize, mean: f64| {
            let losses = (0..samples).map(|i| mean + if boundary == 3 { noise(i) } else { 0.0 });
            Measurement::of_losses(&losses.collect::<Vec<_>>(), &vec![2; samples])
        };
        let points = [4.0, 3.0, 2.0, 1.0, 1.0].into_iter().enumerate();
        let points = points.map(|(boundary, mean)| Point { boundary, measurement: measured(boundary, mean) });
        Curve { points: points.collect(), work: Default::default() }
    }

    fn shares(curve: &Curve, rule: &'static dyn Rule) -> Vec<(usize, f64)> {
        let options = ChoiceOptions { rule, ..ChoiceOptions::default() };
        stability(curve, &options, |_| true).iter().map(|share| (share.boundary, share.share)).collect()
    }

    #[test]
    fn without_noise_there_is_one_choice() {
        for rule in [SMALLEST, BEST] {
            assert_eq!(shares(&curve(16, |_| 0.0), rule), [(3, 1.0)]);
        }
    }

    #[test]
    fn an_even_match_is_won_by_each_half_of_the_time() {
        let curve = curve(40, |i| if i % 2 == 0 { 0.5 } else { -0.5 });
        let found = shares(&curve, BEST);
        let boundaries: Vec<usize> = found.iter().map(|share| share.0).collect();
        assert_eq!(boundaries, [3, 4]);
        assert!((found.iter().map(|share| share.1).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((found[0].1 - 0.5).abs() < 0.1, "{found:?}");
        assert_eq!(shares(&curve, BEST), found, "the same numbers every time");
    }

    #[test]
    fn limits_hold_for_resampled_choices_too() {
        let options = ChoiceOptions { rule: BEST, ..ChoiceOptions::default() };
        let found = stability(&curve(16, |_| 0.0), &options, |boundary| boundary < 3);
        assert_eq!(found, [Share { boundary: 2, share: 1.0 }]);
    }

    #[test]
    fn where_nothing_is_chosen_nothing_is_said() {
        assert!(shares(&curve(16, |_| 0.0), BOUNDARY).is_empty());
        assert!(shares(&curve(1, |_| 0.0), SMALLEST).is_empty());
    }
}
