//! What the samples seen so far say of a boundary, and how surely.
//!
//! They are drawn without replacement from all the samples on which the exhaustive sweep would decide, so the bound on what
//! it will find is Student's with the correction for a finite population: the doubt shrinks to zero with the last sample. The
//! allowed error is divided among all comparisons that may be made (Bonferroni).
//!
//! A boundary that has seen few samples is compared with those that have seen all of them, whose losses are known.
//! `best` drops a boundary as soon as *any* other one is surely better. That other one need not be the best so far:
//! neighbours are better or worse together on the same samples, so a step of the curve is certain long before its height is.

use std::collections::BTreeMap;

use super::ChoiceOptions;
use super::comparison::{standard_error, student_quantile};
use super::rules::Seen;

/// How far a curve may lie from the line between two points, as a share of its second difference. A parabola has an eighth;
/// real curves have steps.
const BEND_SHARE: f64 = 0.4;

/// The part of a boundary's share of the error that is spent on its own losses.
const OWN_SHARE: f64 = 0.8;

/// What has been seen.
pub struct Evidence<'a> {
    pub options: &'a ChoiceOptions,
    /// The probability of a wrong verdict that all comparisons may have together.
    pub error: f64,
    /// How often boundaries are judged.
    pub looks: usize,
    /// How many boundaries there are.
    pub candidates: usize,
    /// The answer tokens of all samples, in the order in which they are seen.
    pub tokens: &'a [usize],
    /// Losses by boundary, in that order.
    pub losses: &'a BTreeMap<usize, Vec<f64>>,
    /// The base model and the whole adapter.
    pub ends: (usize, usize),
}

/// A quantity that all samples will give, predicted from some of them.
#[derive(Debug, Clone, Copy)]
pub struct Predicted {
    pub least: f64,
    pub most: f64,
}

impl Evidence<'_> {
    /// Whether the exhaustive sweep will surely not choose a boundary. One that was not evaluated is judged by the line
    /// between its neighbours, less `BEND_SHARE` of the curve's second difference there.
    pub fn rules_out(&self, boundary: usize) -> bool {
        let comparisons = if self.losses.contains_key(&boundary) { 2 * self.losses.len() } else { 1 };
        self.judge(boundary, comparisons, |seen| self.options.rule.surely_fails(self, seen))
    }

    /// Whether a rule that descends will surely go past a boundary, evaluated or not.
    pub fn holds(&self, boundary: usize) -> bool {
        self.judge(boundary, 1, |seen| self.options.rule.surely_holds(self, seen))
    }

    fn judge(&self, boundary: usize, comparisons: usize, verdict: impl Fn(&Seen) -> bool) -> bool {
        match self.losses.get(&boundary) {
            Some(losses) => verdict(&Seen { boundary, losses, allowance: 0.0, comparisons }),
            None => self.interpolated(boundary).is_some_and(|(losses, bend)| {
                verdict(&Seen { boundary, losses: &losses, allowance: BEND_SHARE * bend, comparisons })
            }),
        }
    }

    /// Whether any other boundary is surely better.
    pub fn is_surely_beaten(&self, seen: &Seen) -> bool {
        let &Seen { losses, allowance, comparisons, .. } = seen;
        let quantile = self.quantile(losses.len(), comparisons as f64);
        let lowest = self.complete().map(|losses| self.mean(losses)).fold(f64::INFINITY, f64::min);
        let by_difference = |others: &Vec<f64>| {
            let least = self.predict(&less(losses, others), quantile).least;
            least > allowance || self.is_complete(others) && least + self.mean(others) - lowest > allowance
        };
        self.losses.values().filter(|others| others.len() >= losses.len()).any(by_difference)
    }

    /// How far the upper bound of a boundary's difference from the whole adapter will exceed the margin, for one of `comparisons`
    /// boundaries. The rule accepts at most 0.
    pub fn excess_over_margin(&self, boundary: usize, losses: &[f64], comparisons: usize) -> Predicted {
        let (m, n) = (losses.len(), self.tokens.len());
        // Most of the error is spent on the boundary itself, the rest on its two neighbours.
        let quantile = self.quantile(m, comparisons as f64 / OWN_SHARE);
        let by_neighbour = self.quantile(m, comparisons as f64 * 2.0 / (1.0 - OWN_SHARE));
        let mut predicted = self.predict(&self.judged(losses), quantile);
        // The result of a boundary that has seen all samples is known, and neighbours differ little.
        for others in self.complete_neighbours(boundary) {
            let difference = self.predict(&less(losses, others), by_neighbour);
            let known = self.mean(&self.judged(others));
            predicted.least = predicted.least.max(known + difference.least);
            predicted.most = predicted.most.min(known + difference.most);
        }
        // The bound that will be added once all samples are seen, itself uncertain until then.
        let student = student_quantile(self.options.confidence, n - 1);
        let differences = less(losses, &self.losses[&self.ends.1]);
        let bound = self.standard_error(&differences) * (m as f64 / n as f64).sqrt() * student;
        let doubt = quantile * self.unseen(m).sqrt() / (2.0 * m as f64).sqrt();
        Predicted {
            least: predicted.least + bound * (1.0 - doubt).max(0.0),
            most: predicted.most + bound * (1.0 + doubt),
        }
    }

    /// The differences from the whole adapter, minus the margin.
    fn judged(&self, losses: &[f64]) -> Vec<f64> {
        let (base, whole) = (&self.losses[&self.ends.0], &self.losses[&self.ends.1]);
        let gains = less(&base[..losses.len()], whole);
        let margin = if gains.iter().sum::<f64>() > 0.0 { self.options.margin } else { 0.0 };
        less(losses, whole).iter().zip(gains).map(|(difference, gain)| difference - margin * gain).collect()
    }

    /// The nearest boundaries, below and above, that have seen all samples.
    fn complete_neighbours(&self, boundary: usize) -> impl Iterator<Item = &Vec<f64>> {
        let is_complete = |(_, losses): &(&usize, &Vec<f64>)| self.is_complete(losses);
        let below = self.losses.range(..boundary).rfind(is_complete);
        let above = self.losses.range(boundary + 1..).find(is_complete);
        below.into_iter().chain(above).map(|(_, losses)| losses)
    }

    /// The losses of boundaries that have seen all samples.
    fn complete(&self) -> impl Iterator<Item = &Vec<f64>> {
        self.losses.values().filter(|losses| self.is_complete(losses))
    }

    fn is_complete(&self, losses: &[f64]) -> bool {
        losses.len() == self.tokens.len()
    }

    fn mean(&self, values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / self.tokens[..values.len()].iter().sum::<usize>() as f64
    }

    /// The mean per token of all samples' `values`, given the first of them.
    fn predict(&self, values: &[f64], quantile: f64) -> Predicted {
        let (mean, unseen) = (self.mean(values), self.unseen(values.len()));
        let spread = if unseen > 0.0 { quantile * self.standard_error(values) * unseen.sqrt() } else { 0.0 };
        Predicted { least: mean - spread, most: mean + spread }
    }

    fn unseen(&self, m: usize) -> f64 {
        1.0 - m as f64 / self.tokens.len() as f64
    }

    fn standard_error(&self, values: &[f64]) -> f64 {
        standard_error(values, &self.tokens[..values.len()]).unwrap_or(f64::INFINITY)
    }

    /// Student's quantile for one of all comparisons that may be made, `each_look` of them at each look. The last look has
    /// nothing to predict.
    fn quantile(&self, m: usize, each_look: f64) -> f64 {
        let comparisons = (self.looks - 1).max(1) as f64 * each_look;
        student_quantile(1.0 - self.error / comparisons, m.saturating_sub(1).max(1))
    }

    /// The losses that a boundary would have on a straight line between its evaluated neighbours, and the larger second
    /// difference of the curve at these.
    fn interpolated(&self, boundary: usize) -> Option<(Vec<f64>, f64)> {
        let (&low, below) = self.losses.range(..boundary).next_back()?;
        let (&high, above) = self.losses.range(boundary + 1..).next()?;
        let weight = (boundary - low) as f64 / (high - low) as f64;
        let losses = below.iter().zip(above).map(|(below, above)| below + weight * (above - below)).collect();
        Some((losses, self.bend(low).max(self.bend(high))))
    }

    /// The second difference of the curve at an evaluated boundary, on the samples that it and its neighbours have seen.
    fn bend(&self, boundary: usize) -> f64 {
        let neighbours = self.losses.range(..boundary).next_back().zip(self.losses.range(boundary + 1..).next());
        let Some(((_, left), (_, right))) = neighbours else { return 0.0 };
        let middle = &self.losses[&boundary];
        let m = left.len().min(middle.len()).min(right.len());
        let sum: f64 = (0..m).map(|i| left[i] - 2.0 * middle[i] + right[i]).sum();
        sum.abs() / self.tokens[..m].iter().sum::<usize>() as f64
    }
}

/// `a − b` for as many as both have.
fn less(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
