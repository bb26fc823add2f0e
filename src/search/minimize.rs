//! The smallest adapter that is surely as good: which sizes to measure, and which of them to test, without I/O.
//!
//! The sizes form a ladder, each 16 % smaller than the one before it. The samples that rank look for the smallest size that seems to
//! hold. The other samples test, and had no part in finding it: from that size down, to the first that fails. If it fails itself,
//! sizes above it are tested from the largest down, again to the first that fails. In each of the two sequences a test is made only
//! if all before it passed, so that the error of one test is that of the sequence (a fixed sequence of tests, as that of the
//! boundaries), and the two share the error that is allowed.

use crate::error::Result;

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

/// The samples that a rung is judged on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    Ranking,
    /// With this confidence.
    Testing {
        confidence: f64,
    },
}

/// What a rung is found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The share of the gain that it seems to give up, with one standard error on top.
    pub cost: f64,
    /// Whether it is, or in the ranking stage seems to be, within the margin.
    pub holds: bool,
}

/// Measures and judges a rung.
pub type JudgeRung<'a> = &'a mut dyn FnMut(Stage, usize) -> Result<Judged>;

/// The search over a ladder.
pub struct LadderSearch<'a> {
    /// The share of all importance that each rung gives up; the first is the largest.
    pub given_up: &'a [f64],
    /// The share of the gain that may be given up.
    pub margin: f64,
    /// The one-sided confidence of the result.
    pub confidence: f64,
}

impl LadderSearch<'_> {
    /// The smallest rung that passes; `None` if none does.
    pub fn run(&self, judge: JudgeRung) -> Result<Option<usize>> {
        let seeming = self.smallest_that_seems_to_hold(&mut *judge)?;
        let downwards: Vec<usize> = (seeming..self.given_up.len()).collect();
        if let Some(chosen) = self.test(&downwards, DOWNWARDS, &mut *judge)? {
            return Ok(Some(chosen));
        }
        let above: Vec<usize> = ABOVE.iter().filter_map(|&distance| seeming.checked_sub(distance)).collect();
        self.test(&above, 1.0 - DOWNWARDS, judge)
    }

    /// The last rung of a sequence that passes with all before it, at this share of the error that is allowed.
    fn test(&self, order: &[usize], share: f64, judge: JudgeRung) -> Result<Option<usize>> {
        let confidence = 1.0 - share * (1.0 - self.confidence);
        let mut chosen = None;
        for &rung in order {
            if !judge(Stage::Testing { confidence }, rung)?.holds {
                break;
            }
            chosen = Some(rung);
        }
        Ok(chosen)
    }

    /// The smallest rung that seems to hold; the first if none does. What a rung costs grows about as a power of the importance that it
    /// gives up, so that two rungs show where the margin lies.
    fn smallest_that_seems_to_hold(&self, judge: JudgeRung) -> Result<usize> {
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
            let Judged { cost, holds } = judge(Stage::Ranking, rung)?;
            known.push(Known { given_up: self.given_up[rung], cost });
            // With the standard error: a size that the tests refuse has cost a test.
            if holds && cost <= self.margin { low = rung } else { high = rung }
        }
        Ok(low)
    }

    /// The last rung whose cost, by those that are known, is within the margin; `None` where they say nothing about it.
    fn guess(&self, known: &[Known]) -> Option<usize> {
        let usable = known.iter().filter(|known| known.given_up > 0.0 && known.cost > 0.0);
        let mut near: Vec<&Known> = usable.collect();
        let distance = |known: &Known| (known.cost / self.margin).ln().abs();
        near.sort_by(|one, other| distance(one).total_cmp(&distance(other)));
        let limit = match near[..] {
            [] => return None,
            [one] => one.given_up * (self.margin / one.cost),
            [one, other, ..] => {
                let slope = (one.given_up / other.given_up).ln() / (one.cost / other.cost).ln();
                let slope = if slope.is_finite() { slope.clamp(0.5, 2.0) } else { 1.0 };
                one.given_up * (self.margin / one.cost).powf(slope)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search over rungs whose costs, to those that rank or not, are functions of the rung. Gives what was chosen, what was
    /// tested, and how many rungs were judged.
    fn search(rungs: usize, cost: impl Fn(usize, bool) -> f64) -> (Option<usize>, Vec<usize>, usize) {
        let given_up: Vec<f64> = ladder(1e-3).into_iter().take(rungs).map(|kept| (1.0 - kept).powi(2)).collect();
        let (mut tested, mut count) = (Vec::new(), 0);
        let search = LadderSearch { given_up: &given_up, margin: 0.02, confidence: 0.95 };
        let chosen = search.run(&mut |stage, rung| {
            count += 1;
            if stage != Stage::Ranking {
                tested.push(rung);
            }
            let cost = cost(rung, stage == Stage::Ranking);
            Ok(Judged { cost, holds: cost <= 0.02 })
        });
        (chosen.unwrap(), tested, count)
    }

    #[test]
    fn the_smallest_that_holds_is_found_and_tested() {
        for limit in 0..12 {
            let (chosen, tested, cost) = search(12, |rung, _| if rung <= limit { 0.01 } else { 0.5 });
            assert_eq!(chosen, Some(limit), "tested {tested:?}");
            assert!(cost <= 10, "{limit}: {cost} measurements");
        }
    }

    #[test]
    fn what_the_tests_refuse_is_not_chosen_however_it_seemed() {
        // The samples that rank like everything, those that test only the first rungs.
        let (chosen, tested, _) = search(12, |rung, ranks| if ranks || rung <= 7 { 0.0 } else { 0.5 });
        assert_eq!((chosen, tested), (Some(7), vec![11, 3, 5, 7, 9]));
        let (chosen, ..) = search(12, |_, ranks| if ranks { 0.0 } else { 0.5 });
        assert_eq!(chosen, None);
    }

    #[test]
    fn costs_that_grow_as_a_power_are_found_with_few_measurements() {
        for power in [1, 2] {
            let cost = |rung: usize, _| 0.1 * (1.0 - STEP.powi(rung as i32)).powi(2 * power);
            let (chosen, tested, count) = search(24, cost);
            let last = (0..24).rev().find(|&rung| cost(rung, true) <= 0.02);
            assert_eq!(chosen, last, "tested {tested:?}");
            assert!(count <= 5, "{count} measurements");
        }
    }

    #[test]
    fn the_two_sequences_share_the_error() {
        let given_up = [0.0, 0.1, 0.2];
        let search = LadderSearch { given_up: &given_up, margin: 0.02, confidence: 0.95 };
        let mut errors = Vec::new();
        let chosen = search.run(&mut |stage, rung| {
            if let Stage::Testing { confidence } = stage {
                errors.push(1.0 - confidence);
            }
            Ok(Judged { cost: 0.0, holds: stage == Stage::Ranking || rung == 0 })
        });
        errors.dedup();
        assert_eq!(chosen.unwrap(), Some(0));
        assert!((errors.iter().sum::<f64>() - 0.05).abs() < 1e-12 && errors.len() == 2, "{errors:?}");
    }

    #[test]
    fn a_ladder_ends_at_the_smallest() {
        assert_eq!(ladder(0.499).len(), 5);
        assert_eq!(ladder(1.0).len(), 1);
    }
}
