//! The smallest adapter that is surely as good: which sizes to measure, and which of them to test, without I/O.
//!
//! The sizes form a ladder, each 16 % smaller than the one before it. The samples that rank look for the smallest size that seems to hold: a
//! few sizes far apart first, then those between. The samples that test go down the ladder towards it and stop at the first size that
//! fails. They had no part in choosing the order, so that the confidence of one test is that of the result (a fixed sequence of
//! tests, as that of the boundaries).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::choice::subset::{Judge, Split};
use crate::choice::{ChoiceOptions, Reference};
use crate::error::Result;
use crate::measure::{Measurement, SampleSize};

/// Each size, as a share of the one before it: four steps are a half.
const STEP: f64 = 0.840_896_415_253_714_6;

/// The distance between the sizes that are looked at first.
const FIRST_STRIDE: usize = 8;

/// How far above the smallest size that seems to hold the tests begin, and how far below it they end. The sizes between are tested
/// from the largest down.
const ABOVE: [usize; 5] = [8, 6, 4, 2, 1];
const BELOW: usize = 1;

/// How many sizes are tested together: what the first that fails makes idle is not much.
const TESTED_TOGETHER: usize = 2;

/// The sizes of a ladder, as shares of what there is: the whole first, down to `smallest`.
pub fn ladder(smallest: f64) -> Vec<f64> {
    std::iter::successors(Some(1.0), |share| Some(share * STEP)).take_while(|&share| share >= smallest).collect()
}

/// Measures rungs of the ladder on the samples with these indices.
pub type MeasureRungs<'a> = &'a mut dyn FnMut(&[usize], &[usize]) -> Result<Vec<Measurement>>;

/// The search over a ladder.
pub struct LadderSearch<'a> {
    /// How many rungs there are; the first is the largest.
    pub rungs: usize,
    /// The base model and the whole adapter on all samples.
    pub reference: Reference<'a>,
    pub options: &'a ChoiceOptions,
}

/// What became of a rung.
#[derive(Debug, Clone, Default)]
pub struct Rung {
    pub ranking: Option<Measurement>,
    pub testing: Option<Measurement>,
    /// Whether the test passed, if there was one.
    pub holds: Option<bool>,
}

/// The result of a search.
pub struct Found {
    /// The smallest rung that passed; `None` if none did.
    pub chosen: Option<usize>,
    /// By rung, those that were measured.
    pub rungs: BTreeMap<usize, Rung>,
}

impl LadderSearch<'_> {
    /// Looks for the smallest rung that seems to hold, and tests from above down to it.
    pub fn run(&self, split: &Split, measure: MeasureRungs) -> Result<Found> {
        let mut rungs: BTreeMap<usize, Rung> = BTreeMap::new();
        let seeming = self.smallest_that_seems_to_hold(&split.ranking, &mut rungs, measure)?;
        let judge = Judge::on(&split.testing, &self.reference, self.options);
        let whole = self.reference.whole.select(&split.testing);
        let mut chosen = None;
        'tests: for order in self.order(seeming).chunks(TESTED_TOGETHER) {
            for (&rung, measured) in order.iter().zip(measure(&split.testing, order)?) {
                let holds = judge.accepts(&measured, &whole);
                let known = rungs.entry(rung).or_default();
                (known.testing, known.holds) = (Some(measured), Some(holds));
                if !holds {
                    break 'tests;
                }
                chosen = Some(rung);
            }
        }
        Ok(Found { chosen, rungs })
    }

    /// The rungs to test, in this order.
    fn order(&self, seeming: usize) -> Vec<usize> {
        let above = ABOVE.iter().map(|distance| seeming.saturating_sub(*distance));
        let mut order: Vec<usize> = above.chain(seeming..=seeming + BELOW).collect();
        order.retain(|&rung| rung < self.rungs);
        order.dedup();
        order
    }

    /// The smallest rung that seems to hold with all that were looked at above it; the first if none does.
    fn smallest_that_seems_to_hold(
        &self,
        ranking: &[usize],
        rungs: &mut BTreeMap<usize, Rung>,
        measure: MeasureRungs,
    ) -> Result<usize> {
        let judge = Judge::on(ranking, &self.reference, self.options);
        let whole = self.reference.whole.select(ranking);
        let (mut low, mut high, mut stride) = (0, self.rungs, FIRST_STRIDE);
        while stride > 0 {
            let looked_at: Vec<usize> = (low + stride..high).step_by(stride).collect();
            let measured = if looked_at.is_empty() { Vec::new() } else { measure(ranking, &looked_at)? };
            for (&rung, measured) in looked_at.iter().zip(measured) {
                // With one standard error on top: a size that the tests refuse has cost a test.
                let holds = judge.seems_to_hold(&measured, &whole) && judge.cost(&measured) <= self.options.margin;
                rungs.entry(rung).or_default().ranking = Some(measured);
                match holds {
                    true if rung < high => low = rung,
                    false => high = high.min(rung),
                    true => {}
                }
            }
            stride /= 2;
        }
        Ok(low)
    }
}

/// A measurement on all samples from those on the two parts of a split.
pub fn joined(split: &Split, ranking: &Measurement, testing: &Measurement, sizes: &Arc<[SampleSize]>) -> Measurement {
    let mut joined = Measurement::zero(sizes.clone());
    let parts = [(&split.ranking, ranking), (&split.testing, testing)];
    for (places, measured) in parts {
        places.iter().zip(&measured.scores).for_each(|(&place, &score)| joined.scores[place] = score);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search over rungs whose losses on each half of the samples are functions of the rung; the base has 2, the whole 1.
    fn search(rungs: usize, loss: impl Fn(usize, bool) -> f64) -> (Option<usize>, Vec<usize>, usize) {
        let measured = |loss: f64, count: usize| Measurement::of_losses(&vec![loss; count], &vec![1; count]);
        let (base, whole) = (measured(2.0, 32), measured(1.0, 32));
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        let options = ChoiceOptions { guard: None, ..ChoiceOptions::default() };
        let split = Split::draw(&whole.sizes).unwrap();
        let mut count = 0;
        let found = LadderSearch { rungs, reference, options: &options }
            .run(&split, &mut |samples, rungs| {
                count += rungs.len() * samples.len();
                let ranks = samples == split.ranking;
                Ok(rungs.iter().map(|&rung| measured(loss(rung, ranks), samples.len())).collect())
            })
            .unwrap();
        let tested = found.rungs.iter().filter(|(_, rung)| rung.holds.is_some()).map(|(&rung, _)| rung).collect();
        (found.chosen, tested, count / 32)
    }

    #[test]
    fn the_smallest_that_holds_is_found_and_tested() {
        for limit in 0..12 {
            let (chosen, tested, cost) = search(12, |rung, _| if rung <= limit { 1.01 } else { 1.5 });
            assert_eq!(chosen, Some(limit), "tested {tested:?}");
            assert!(cost <= 7, "{limit}: as much as {cost} measurements on all samples");
        }
    }

    #[test]
    fn what_the_tests_refuse_is_not_chosen_however_it_seemed() {
        // The samples that rank like everything, those that test only the first rungs.
        let (chosen, tested, _) = search(12, |rung, ranks| if ranks || rung <= 7 { 1.0 } else { 1.5 });
        assert_eq!((chosen, tested), (Some(7), vec![3, 5, 7, 9]));
        let (chosen, ..) = search(12, |_, ranks| if ranks { 1.0 } else { 1.5 });
        assert_eq!(chosen, None);
    }

    #[test]
    fn a_ladder_ends_at_the_smallest() {
        assert_eq!(ladder(0.499).len(), 5);
        assert_eq!(ladder(1.0).len(), 1);
    }
}
