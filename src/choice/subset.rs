//! Beyond one boundary: removing any layers, or single blocks of them, as long as the rule accepts the rest.
//!
//! Which parts go next is read from one half of the samples, and whether the rule accepts the adapter without them is tested
//! on the other half: a part that was picked because it looked dispensable gets no credit for its luck. The order is fixed
//! before it is tested, and the tests stop at the first that fails.

use super::rules::Trial;
use super::{ChoiceOptions, Reference};
use crate::measure::{Measurement, SampleSize};

/// The parts that the search removes: layers or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    Layers,
    /// Attention or MLP of a layer.
    Blocks,
}

/// The indices of the samples that rank parts, and of those that test what is left.
pub struct Halves {
    ranking: Vec<usize>,
    testing: Vec<usize>,
}

impl Halves {
    /// Divides the draws among samples into halves by a fixed seed.
    pub fn draw(sizes: &[SampleSize]) -> Self {
        const SEED: u64 = 0;
        let mut draws = SampleSize::draws(sizes);
        fastrand::Rng::with_seed(SEED).shuffle(&mut draws);
        let testing = draws.split_off(draws.len() / 2);
        Self { ranking: draws.concat(), testing: testing.concat() }
    }

    /// Parts in the order in which to remove them, from the measurements without each: the lowest loss first.
    pub fn rank(&self, without: &[Measurement]) -> Vec<usize> {
        let losses: Vec<f64> = without.iter().map(|left| left.select(&self.ranking).loss()).collect();
        let mut order: Vec<usize> = (0..without.len()).collect();
        order.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        order
    }

    /// Whether the rule accepts a candidate instead of `current`, on the half that tests.
    pub fn accepts(
        &self,
        candidate: &Measurement,
        current: &Measurement,
        reference: &Reference,
        options: &ChoiceOptions,
    ) -> bool {
        let [candidate, current, base, whole] =
            [candidate, current, reference.base, reference.whole].map(|measured| measured.select(&self.testing));
        let reference = Reference { base: &base, whole: &whole, confidence: options.confidence };
        let is_guarded = options.guard.is_none_or(|guard| reference.holds(guard, &candidate, options.margin));
        is_guarded && options.rule.accepts(&Trial { candidate: &candidate, current: &current, reference }, options)
    }
}

/// How many of `count` parts, in their order, each test removes at once: twice as many each time.
pub fn steps(count: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |taken| Some(2 * taken)).take_while(|&taken| taken < count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::rules::{BEST, Rule, SMALLEST};

    fn measured(losses: &[f64]) -> Measurement {
        Measurement::of_losses(losses, &vec![1; losses.len()])
    }

    #[test]
    fn one_half_ranks_and_the_other_tests() {
        let sizes: Vec<_> = (0..8).map(|draw| SampleSize { tokens: 1, ends: 0, draw, slice: 0 }).collect();
        let halves = Halves::draw(&sizes);
        assert_eq!((halves.ranking.len(), halves.testing.len()), (4, 4));
        assert!(halves.ranking.iter().all(|sample| !halves.testing.contains(sample)));
        // Good on the samples that rank, bad on those that test.
        let luck = |sample: usize| if halves.ranking.contains(&sample) { 0.0 } else { 3.0 };
        let lucky = measured(&(0..8).map(luck).collect::<Vec<_>>());
        let (base, whole) = (measured(&[4.0; 8]), measured(&[1.0; 8]));
        assert_eq!(halves.rank(&[whole.clone(), lucky.clone(), base.clone()]), [1, 0, 2]);
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        let accepts = |candidate: &Measurement, rule: &'static dyn Rule| {
            let options = ChoiceOptions { rule, ..ChoiceOptions::default() };
            halves.accepts(candidate, &whole, &reference, &options)
        };
        for rule in [SMALLEST, BEST] {
            assert!(!accepts(&lucky, rule));
            assert!(accepts(&measured(&[0.9; 8]), rule));
        }
        // Samples of one draw stay together.
        let pairs: Vec<_> =
            (0..8).map(|sample| SampleSize { tokens: 1, ends: 0, draw: sample / 2, slice: 0 }).collect();
        let halves = Halves::draw(&pairs);
        assert!(halves.ranking.iter().all(|sample| halves.ranking.contains(&(sample ^ 1))));
        // Equal is not worse, but not better.
        assert!(accepts(&whole, SMALLEST) && !accepts(&whole, BEST));
    }

    #[test]
    fn steps_double_and_leave_something() {
        assert_eq!(steps(1), Vec::<usize>::new());
        assert_eq!(steps(2), [1]);
        assert_eq!(steps(9), [1, 2, 4, 8]);
    }
}
