//! Beyond one boundary: taking out any layers, or single blocks of them, as long as what is left holds.
//!
//! Which parts go next is read from one half of the samples, and whether the adapter still holds without them is tested on
//! the other half: what was picked because it looked dispensable gets no credit for its luck. The order is fixed before it is
//! tested, and the tests stop at the first that fails.

use super::compare::{Comparison, mean};
use super::{ChoiceOptions, Rule};
use crate::measure::Scores;

/// Which samples rank, and which test: by their places.
pub struct Halves {
    ranking: Vec<usize>,
    testing: Vec<usize>,
}

/// What an adapter is tested against, on all samples.
pub struct Measure<'a> {
    pub base: &'a Scores,
    pub whole: &'a Scores,
    /// What the parts are taken from.
    pub current: &'a Scores,
    pub answers: &'a [usize],
    pub options: &'a ChoiceOptions,
}

impl Halves {
    /// Draws the halves of `samples` samples by a fixed seed.
    pub fn draw(samples: usize) -> Self {
        const SEED: u64 = 0;
        let mut places: Vec<usize> = (0..samples).collect();
        fastrand::Rng::with_seed(SEED).shuffle(&mut places);
        let testing = places.split_off(samples / 2);
        Self { ranking: places, testing }
    }

    /// Parts in the order in which they should go, given what is left without each: the lowest loss first.
    pub fn rank(&self, without: &[Scores], answers: &[usize]) -> Vec<usize> {
        let tokens = of(answers, &self.ranking);
        let losses: Vec<f64> =
            without.iter().map(|scores| mean(&of(&scores.per_sample, &self.ranking), &tokens)).collect();
        let mut order: Vec<usize> = (0..without.len()).collect();
        order.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        order
    }

    /// Whether an adapter holds: `smallest` wants it surely not worse than the whole one by more than the margin, the other
    /// rules a lower loss than what it was made from.
    pub fn holds(&self, scores: &Scores, measure: &Measure) -> bool {
        let tokens = of(measure.answers, &self.testing);
        let losses = |scores: &Scores| of(&scores.per_sample, &self.testing);
        let options = measure.options;
        match options.rule {
            Rule::Smallest => {
                let whole = losses(measure.whole);
                let margin = options.margin_between(mean(&losses(measure.base), &tokens), mean(&whole, &tokens));
                let compared = Comparison::new(&losses(scores), &whole, &tokens, options.confidence);
                compared.at_most.is_some_and(|most| most <= margin)
            }
            _ => mean(&losses(scores), &tokens) < mean(&losses(measure.current), &tokens),
        }
    }
}

/// How many of `count` parts, those that should go first, are taken out at once: twice as many each time.
pub fn steps(count: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |taken| Some(2 * taken)).take_while(|&taken| taken < count).collect()
}

fn of<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&place| values[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(per_sample: &[f64]) -> Scores {
        Scores { per_sample: per_sample.into(), right: vec![0; per_sample.len()] }
    }

    #[test]
    fn one_half_ranks_and_the_other_tests() {
        let halves = Halves::draw(8);
        assert_eq!((halves.ranking.len(), halves.testing.len()), (4, 4));
        assert!(halves.ranking.iter().all(|place| !halves.testing.contains(place)));
        // Good on the samples that rank, bad on those that test.
        let lucky =
            scores(&(0..8).map(|place| if halves.ranking.contains(&place) { 0.0 } else { 3.0 }).collect::<Vec<_>>());
        let (base, whole) = (scores(&[4.0; 8]), scores(&[1.0; 8]));
        let answers = [1; 8];
        assert_eq!(halves.rank(&[whole.clone(), lucky.clone(), base.clone()], &answers), [1, 0, 2]);
        for rule in [Rule::Smallest, Rule::Best] {
            let options = ChoiceOptions { rule, ..ChoiceOptions::default() };
            let measure = Measure { base: &base, whole: &whole, current: &whole, answers: &answers, options: &options };
            assert!(!halves.holds(&lucky, &measure));
            assert!(halves.holds(&scores(&[0.9; 8]), &measure));
        }
        // Equal is not worse, but not better.
        let measure = |rule| ChoiceOptions { rule, ..ChoiceOptions::default() };
        let of = |options: &ChoiceOptions| {
            halves.holds(&whole, &Measure { base: &base, whole: &whole, current: &whole, answers: &answers, options })
        };
        assert!(of(&measure(Rule::Smallest)) && !of(&measure(Rule::Best)));
    }

    #[test]
    fn steps_double_and_leave_something() {
        assert_eq!(steps(1), Vec::<usize>::new());
        assert_eq!(steps(2), [1]);
        assert_eq!(steps(9), [1, 2, 4, 8]);
    }
}
