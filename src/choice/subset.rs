//! Beyond one boundary: removing any layers, or single blocks of them, as long as the rule accepts the rest.
//!
//! A few samples, those that rank, find a path: nested selections, each without some more parts that seem dispensable. The other
//! samples test the path from its start, and stop at the first selection that fails. They had no part in finding it, so its order
//! is fixed in advance, and the confidence of one test is that of the result (a fixed sequence of tests, as that of the
//! boundaries): a part that was picked because it looked dispensable gets no credit for its luck.

use super::comparison::standard_error;
use super::rules::Trial;
use super::{ChoiceOptions, Criterion, Reference};
use crate::measure::{Measurement, SampleSize};

/// The parts that the search removes: layers or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    Layers,
    /// Attention or MLP of a layer.
    Blocks,
}

/// The fewest draws that can be split so that each part has a standard error.
const LEAST_DRAWS: usize = 4;

/// Ranking needs fewer samples than testing: this share of the draws, but no fewer than `LEAST_RANKING` unless that is half.
const RANKING_SHARE: usize = 4;
const LEAST_RANKING: usize = 8;

/// The indices of the samples that rank parts, and of those that test what is left.
pub struct Split {
    pub ranking: Vec<usize>,
    pub testing: Vec<usize>,
}

impl Split {
    /// Splits the draws among samples by a fixed seed; `None` where there are too few.
    pub fn draw(sizes: &[SampleSize]) -> Option<Self> {
        const SEED: u64 = 0;
        let mut draws = SampleSize::draws(sizes);
        if draws.len() < LEAST_DRAWS {
            return None;
        }
        fastrand::Rng::with_seed(SEED).shuffle(&mut draws);
        let ranking = (draws.len() / RANKING_SHARE).max(LEAST_RANKING.min(draws.len() / 2));
        let testing = draws.split_off(ranking);
        Some(Self { ranking: draws.concat(), testing: testing.concat() })
    }
}

/// Judges selections on some of the samples.
pub struct Judge<'a> {
    base: Measurement,
    whole: Measurement,
    options: &'a ChoiceOptions,
}

impl<'a> Judge<'a> {
    /// A judge on the samples with these indices.
    pub fn on(samples: &[usize], reference: &Reference, options: &'a ChoiceOptions) -> Self {
        let [base, whole] = [reference.base, reference.whole].map(|measured| measured.select(samples));
        Self { base, whole, options }
    }

    fn reference(&self) -> Reference<'_> {
        Reference { base: &self.base, whole: &self.whole, confidence: self.options.confidence }
    }

    /// Whether the rule accepts a candidate instead of `current`, with confidence.
    pub fn accepts(&self, candidate: &Measurement, current: &Measurement) -> bool {
        let (reference, options) = (self.reference(), self.options);
        let is_guarded = options.guard.is_none_or(|guard| reference.holds(guard, candidate, options.margin));
        is_guarded && options.rule.accepts(&Trial { candidate, current, reference }, options)
    }

    /// What a candidate seems to cost. For a rule that accepts what is not much worse, it is what it may give up: the larger share
    /// of the adapter's gain by the measure and by the guard, with one standard error on top, because what is uncertain is hard to
    /// prove. Where the adapter gains nothing by one of them, the share is that of one unit.
    pub fn cost(&self, candidate: &Measurement) -> f64 {
        if self.options.rule.descends() { self.given_up(candidate, 1.0) } else { self.options.measure.mean(candidate) }
    }

    /// The larger share of the adapter's gain that is given up by the measure and by the guard, with so many standard errors on top.
    fn given_up(&self, candidate: &Measurement, errors: f64) -> f64 {
        let share = |criterion: Criterion| {
            let gain = self.reference().margin(criterion, 1.0);
            let (costs, others) = (criterion.costs(candidate), criterion.costs(&self.whole));
            let differences: Vec<f64> = costs.iter().zip(&others).map(|(a, b)| a - b).collect();
            let error = standard_error(&differences, &candidate.sizes).unwrap_or(0.0);
            let lost = criterion.mean(candidate) - criterion.mean(&self.whole) + errors * error;
            if gain > 0.0 { lost / gain } else { lost }
        };
        let measure = share(self.options.measure);
        self.options.guard.map_or(measure, |guard| measure.max(share(guard)))
    }

    /// What more parts may cost beside a candidate. Costs add up, or more than that.
    pub fn leeway(&self, candidate: &Measurement) -> f64 {
        if self.options.rule.descends() { self.options.margin - self.given_up(candidate, 0.0) } else { f64::INFINITY }
    }

    /// Whether a candidate seems to be one that the rule would accept, were the samples many.
    pub fn seems_to_hold(&self, candidate: &Measurement, current: &Measurement) -> bool {
        let (options, reference) = (self.options, self.reference());
        let lost = |criterion: Criterion| criterion.mean(candidate) - criterion.mean(&self.whole);
        let is_within = |criterion| lost(criterion) <= reference.margin(criterion, options.margin);
        let is_accepted = match options.rule.descends() {
            true => is_within(options.measure),
            false => options.measure.mean(candidate) < options.measure.mean(current),
        };
        options.guard.is_none_or(is_within) && is_accepted
    }
}

/// How many of `count` parts, in their order, each selection of a path goes without.
pub fn steps(count: usize) -> Vec<usize> {
    let next = |&taken: &usize| Some(taken + (taken / 2).max(1));
    std::iter::successors(Some(1), next).take_while(|&taken| taken <= count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::rules::{BEST, Rule, SMALLEST};

    fn measured(losses: &[f64]) -> Measurement {
        Measurement::of_losses(losses, &vec![1; losses.len()])
    }

    fn sizes(samples: usize, draw: impl Fn(usize) -> usize) -> Vec<SampleSize> {
        (0..samples).map(|sample| SampleSize { tokens: 1, ends: 0, draw: draw(sample), slice: 0 }).collect()
    }

    #[test]
    fn samples_that_rank_do_not_test() {
        for (samples, ranking) in [(4, 2), (8, 4), (16, 8), (24, 8), (64, 16), (160, 40)] {
            let split = Split::draw(&sizes(samples, |sample| sample)).unwrap();
            assert_eq!((split.ranking.len(), split.testing.len()), (ranking, samples - ranking));
            assert!(split.ranking.iter().all(|sample| !split.testing.contains(sample)));
        }
        assert!(Split::draw(&sizes(3, |sample| sample)).is_none());
        // Samples of one draw stay together.
        let split = Split::draw(&sizes(8, |sample| sample / 2)).unwrap();
        assert!(split.ranking.iter().all(|sample| split.ranking.contains(&(sample ^ 1))));
    }

    #[test]
    fn luck_on_the_samples_that_rank_is_no_credit() {
        let split = Split::draw(&sizes(16, |sample| sample)).unwrap();
        let luck = |sample: usize| if split.ranking.contains(&sample) { 0.0 } else { 3.0 };
        let lucky = measured(&(0..16).map(luck).collect::<Vec<_>>());
        let (base, whole) = (measured(&[4.0; 16]), measured(&[1.0; 16]));
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        for rule in [SMALLEST, BEST] {
            let options = ChoiceOptions { rule, guard: None, ..ChoiceOptions::default() };
            let ranking = Judge::on(&split.ranking, &reference, &options);
            let testing = Judge::on(&split.testing, &reference, &options);
            let on = |measured: &Measurement, samples: &[usize]| measured.select(samples);
            assert!(ranking.seems_to_hold(&on(&lucky, &split.ranking), &on(&whole, &split.ranking)));
            assert!(ranking.cost(&on(&lucky, &split.ranking)) < ranking.cost(&on(&whole, &split.ranking)));
            let accepts =
                |measured: &Measurement| testing.accepts(&on(measured, &split.testing), &on(&whole, &split.testing));
            assert!(!accepts(&lucky) && accepts(&measured(&[0.9; 16])));
            // Equal is not worse, but not better.
            assert_eq!(accepts(&whole), rule == SMALLEST as &dyn Rule);
        }
    }

    #[test]
    fn what_the_guard_loses_costs_as_much_as_what_the_measure_loses() {
        let with = |loss: f64, probability: f64| {
            let mut measured = measured(&[loss; 4]);
            measured.scores.iter_mut().for_each(|score| score.probability = probability);
            measured
        };
        let (base, whole) = (with(3.0, 0.2), with(1.0, 0.6));
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        let options = ChoiceOptions::default();
        let judge = Judge::on(&[0, 1, 2, 3], &reference, &options);
        assert!((judge.cost(&with(1.2, 0.6)) - 0.1).abs() < 1e-9);
        assert!((judge.cost(&with(0.9, 0.5)) - 0.25).abs() < 1e-9);
        assert!(!judge.seems_to_hold(&with(0.9, 0.5), &whole) && judge.seems_to_hold(&with(1.01, 0.6), &whole));
    }

    #[test]
    fn steps_grow() {
        assert_eq!(steps(0), Vec::<usize>::new());
        assert_eq!(steps(2), [1, 2]);
        assert_eq!(steps(20), [1, 2, 3, 4, 6, 9, 13, 19]);
    }
}
