//! The smallest adapter that is surely as good: which sizes to measure, and which of them to test, without I/O.
//!
//! The sizes form a ladder, each 16 % smaller than the one before it. The samples that rank look for the smallest size that seems to
//! hold. The other samples test, and had no part in finding it: from that size down, to the first that fails. If it fails itself,
//! sizes above it are tested from the largest down, again to the first that fails. In each of the two sequences a test is made only
//! if all before it passed, so that the error of one test is that of the sequence (a fixed sequence of tests, as that of the
//! boundaries), and the two share the error that is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::choice::subset::{Judge, Split};
use crate::choice::{ChoiceOptions, Reference};
use crate::error::Result;
use crate::measure::{Measurement, SampleSize};

/// Each size, as a share of the one before it: four steps are a half.
const STEP: f64 = 0.840_896_415_253_714_6;

/// The size that is looked at first: a quarter.
const FIRST: usize = 8;

/// How many sizes are looked at where the margin seems to lie, before halving takes over.
const GUESSES: usize = 4;

/// The sizes above the smallest that seems to hold, by their distance to it, that are tested if it fails.
const ABOVE: [usize; 5] = [8, 6, 4, 2, 1];

/// The share of the error that is allowed which goes to the tests downwards. Those above are rarely needed, and rarely close.
const DOWNWARDS: f64 = 0.8;

/// The sizes of a ladder, as shares of what there is: the whole first, down to `smallest`.
pub fn ladder(smallest: f64) -> Vec<f64> {
    std::iter::successors(Some(1.0), |share| Some(share * STEP)).take_while(|&share| share >= smallest).collect()
}

/// Measures a rung of the ladder on the samples with these indices.
pub type MeasureRung<'a> = &'a mut dyn FnMut(&[usize], usize) -> Result<Measurement>;

/// The search over a ladder.
pub struct LadderSearch<'a> {
    /// The share of all importance that each rung gives up; the first is the largest.
    pub given_up: &'a [f64],
    /// The base model and the whole adapter on all samples.
    pub reference: Reference<'a>,
    pub options: &'a ChoiceOptions,
}

/// What became of a rung.
#[derive(Debug, Clone, Default)]
pub struct Rung {
    pub ranking: Option<Measurement>,
    pub testing: Option<Measurement>,
    pub verdict: Option<Verdict>,
}

/// What a test of a rung said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    pub confidence: f64,
    pub holds: bool,
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
    pub fn run(&self, split: &Split, measure: MeasureRung) -> Result<Found> {
        let mut rungs: BTreeMap<usize, Rung> = BTreeMap::new();
        let seeming = self.smallest_that_seems_to_hold(&split.ranking, &mut rungs, measure)?;
        let downwards: Vec<usize> = (seeming..self.given_up.len()).collect();
        let mut chosen = self.test((&downwards, DOWNWARDS), &split.testing, &mut rungs, &mut *measure)?;
        if chosen.is_none() {
            let above: Vec<usize> = ABOVE.iter().filter_map(|&distance| seeming.checked_sub(distance)).collect();
            chosen = self.test((&above, 1.0 - DOWNWARDS), &split.testing, &mut rungs, measure)?;
        }
        Ok(Found { chosen, rungs })
    }

    /// The last rung of a sequence that passes with all before it, at this share of the error that is allowed.
    fn test(
        &self,
        (order, share): (&[usize], f64),
        testing: &[usize],
        rungs: &mut BTreeMap<usize, Rung>,
        measure: MeasureRung,
    ) -> Result<Option<usize>> {
        let confidence = 1.0 - share * (1.0 - self.options.confidence);
        let options = ChoiceOptions { confidence, ..self.options.clone() };
        let judge = Judge::on(testing, &self.reference, &options);
        let whole = self.reference.whole.select(testing);
        let mut chosen = None;
        for &rung in order {
            let measured = measure(testing, rung)?;
            let holds = judge.accepts(&measured, &whole);
            let known = rungs.entry(rung).or_default();
            (known.testing, known.verdict) = (Some(measured), Some(Verdict { confidence, holds }));
            if !holds {
                break;
            }
            chosen = Some(rung);
        }
        Ok(chosen)
    }

    /// The smallest rung that seems to hold; the first if none does. What a rung costs grows about as a power of the importance that it
    /// gives up, so that two rungs show where the margin lies.
    fn smallest_that_seems_to_hold(
        &self,
        ranking: &[usize],
        rungs: &mut BTreeMap<usize, Rung>,
        measure: MeasureRung,
    ) -> Result<usize> {
        let judge = Judge::on(ranking, &self.reference, self.options);
        let whole = self.reference.whole.select(ranking);
        let (mut low, mut high) = (0, self.given_up.len());
        let mut known: Vec<Known> = Vec::new();
        while low + 1 < high {
            let guess = if known.len() < GUESSES { self.guess(&known) } else { None };
            let rung = match guess {
                // The tests find out whether the next one holds, too.
                Some(rung) if rung <= low => break,
                Some(rung) => rung,
                None if known.is_empty() => FIRST,
                None => low.midpoint(high),
            };
            let rung = rung.clamp(low + 1, high - 1);
            let measured = measure(ranking, rung)?;
            // With one standard error on top: a size that the tests refuse has cost a test.
            let cost = judge.cost(&measured);
            let holds = judge.seems_to_hold(&measured, &whole) && cost <= self.options.margin;
            rungs.entry(rung).or_default().ranking = Some(measured);
            known.push(Known { given_up: self.given_up[rung], cost });
            if holds { low = rung } else { high = rung }
        }
        Ok(low)
    }

    /// The last rung whose cost, by those that are known, is within the margin; `None` where they say nothing about it.
    fn guess(&self, known: &[Known]) -> Option<usize> {
        let usable = known.iter().filter(|known| known.given_up > 0.0 && known.cost > 0.0);
        let mut near: Vec<&Known> = usable.collect();
        let distance = |known: &Known| (known.cost / self.options.margin).ln().abs();
        near.sort_by(|one, other| distance(one).total_cmp(&distance(other)));
        let limit = match near[..] {
            [] => return None,
            [one] => one.given_up * (self.options.margin / one.cost),
            [one, other, ..] => {
                let slope = (one.given_up / other.given_up).ln() / (one.cost / other.cost).ln();
                let slope = if slope.is_finite() { slope.clamp(0.5, 2.0) } else { 1.0 };
                one.given_up * (self.options.margin / one.cost).powf(slope)
            }
        };
        self.given_up.iter().rposition(|&given_up| given_up <= limit)
    }
}

/// A rung that was measured on the samples that rank.
struct Known {
    /// The share of the importance that it gives up.
    given_up: f64,
    /// The share of the gain that it seems to give up.
    cost: f64,
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
        let given_up: Vec<f64> = ladder(1e-3).into_iter().take(rungs).map(|kept| (1.0 - kept).powi(2)).collect();
        let found = LadderSearch { given_up: &given_up, reference, options: &options }
            .run(&split, &mut |samples, rung| {
                count += samples.len();
                Ok(measured(loss(rung, samples == split.ranking), samples.len()))
            })
            .unwrap();
        let tested = found.rungs.iter().filter(|(_, rung)| rung.verdict.is_some()).map(|(&rung, _)| rung).collect();
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
        assert_eq!((chosen, tested), (Some(7), vec![3, 5, 7, 9, 11]));
        let (chosen, ..) = search(12, |_, ranks| if ranks { 1.0 } else { 1.5 });
        assert_eq!(chosen, None);
    }

    #[test]
    fn a_ladder_ends_at_the_smallest() {
        assert_eq!(ladder(0.499).len(), 5);
        assert_eq!(ladder(1.0).len(), 1);
    }
}
