//! What the samples seen so far say of a boundary by one criterion, and how surely.
//!
//! They are drawn without replacement from all the samples on which the exhaustive sweep would decide, so the bound on what
//! it will find is Student's with the correction for a finite population: the doubt shrinks to zero with the last sample. The
//! allowed error is divided among all comparisons that may be made (Bonferroni).
//!
//! A boundary that has seen few samples is compared with those that have seen all of them, whose costs are known.

use std::collections::BTreeMap;

use super::Race;
use crate::choice::comparison::{draws, standard_error, student_quantile};

/// How far a curve may lie from the line between two points, as a share of its second difference. A parabola has an eighth;
/// real curves have steps.
const BEND_SHARE: f64 = 0.4;

/// The part of a boundary's share of the error that is spent on its own losses.
const OWN_SHARE: f64 = 0.8;

/// What has been seen, by one criterion.
pub struct CostEvidence<'a> {
    pub race: Race<'a>,
    /// What each sample costs, by boundary, in the order in which samples are seen.
    pub costs: BTreeMap<usize, Vec<f64>>,
}

/// The costs of a boundary on the samples seen so far, measured or estimated.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    boundary: usize,
    costs: &'a [f64],
    /// How much per token they may be too high.
    allowance: f64,
}

/// What a boundary is held to: its upper bound must not exceed that of a reference by more than a margin.
#[derive(Debug, Clone, Copy)]
pub struct Standard {
    /// One of the two ends.
    pub reference: usize,
    /// A share of what the whole adapter gains.
    pub margin: f64,
    /// The one-sided confidence of the bound.
    pub confidence: f64,
}

/// A quantity that all samples will give, predicted from some of them.
#[derive(Debug, Clone, Copy)]
pub struct Predicted {
    pub least: f64,
    pub most: f64,
}

impl CostEvidence<'_> {
    /// Whether a boundary surely fails a standard; one of `comparisons`.
    pub fn surely_fails(&self, boundary: usize, standard: Standard, comparisons: usize) -> bool {
        self.judge(boundary, |seen| self.excess(&seen, standard, comparisons).least > seen.allowance)
    }

    /// Whether a boundary surely holds a standard.
    pub fn surely_holds(&self, boundary: usize, standard: Standard) -> bool {
        self.judge(boundary, |seen| self.excess(&seen, standard, 1).most + seen.allowance <= 0.0)
    }

    /// Whether any of the boundaries `rivals` is surely better; one of `comparisons`.
    pub fn is_surely_beaten(&self, boundary: usize, rivals: impl Fn(usize) -> bool, comparisons: usize) -> bool {
        self.judge(boundary, |Seen { costs, allowance, .. }| {
            let quantile = self.quantile(costs.len(), comparisons as f64);
            let rivals = || self.costs.iter().filter(|(rival, _)| rivals(**rival)).map(|(_, costs)| costs);
            let complete = rivals().filter(|costs| self.is_complete(costs));
            let lowest = complete.map(|costs| self.mean(costs)).fold(f64::INFINITY, f64::min);
            let by_difference = |others: &Vec<f64>| {
                let least = self.predict(&less(costs, others), quantile).least;
                least > allowance || self.is_complete(others) && least + self.mean(others) - lowest > allowance
            };
            rivals().filter(|others| others.len() >= costs.len()).any(by_difference)
        })
    }

    /// A verdict on a boundary. One that was not evaluated is judged by the line between its neighbours, less `BEND_SHARE` of the
    /// curve's second difference there.
    fn judge(&self, boundary: usize, verdict: impl Fn(Seen) -> bool) -> bool {
        match self.costs.get(&boundary) {
            Some(costs) => verdict(Seen { boundary, costs, allowance: 0.0 }),
            None => self
                .interpolated(boundary)
                .is_some_and(|(costs, bend)| verdict(Seen { boundary, costs: &costs, allowance: BEND_SHARE * bend })),
        }
    }

    /// How far the upper bound of a boundary's difference from the reference will exceed the margin, for one of `comparisons`
    /// boundaries. The standard is at most 0.
    fn excess(&self, seen: &Seen, standard: Standard, comparisons: usize) -> Predicted {
        let costs = seen.costs;
        let (m, n) = (costs.len(), self.race.sizes.len());
        // Most of the error is spent on the boundary itself, the rest on its two neighbours.
        let quantile = self.quantile(m, comparisons as f64 / OWN_SHARE);
        let by_neighbour = self.quantile(m, comparisons as f64 * 2.0 / (1.0 - OWN_SHARE));
        let mut predicted = self.predict(&self.judged(costs, standard), quantile);
        // The result of a boundary that has seen all samples is known, and neighbours differ little.
        for others in self.complete_neighbours(seen.boundary) {
            let difference = self.predict(&less(costs, others), by_neighbour);
            let known = self.mean(&self.judged(others, standard));
            predicted.least = predicted.least.max(known + difference.least);
            predicted.most = predicted.most.min(known + difference.most);
        }
        // The bound that will be added once all samples are seen, itself uncertain until then.
        let student = student_quantile(standard.confidence, draws(self.race.sizes) - 1);
        let differences = less(costs, &self.costs[&standard.reference]);
        let bound = self.standard_error(&differences) * (m as f64 / n as f64).sqrt() * student;
        let seen = draws(&self.race.sizes[..m]) as f64;
        let doubt = quantile * self.unseen(m).sqrt() / (2.0 * seen).sqrt();
        Predicted {
            least: predicted.least + bound * (1.0 - doubt).max(0.0),
            most: predicted.most + bound * (1.0 + doubt),
        }
    }

    /// The differences from the reference, minus the margin.
    fn judged(&self, costs: &[f64], standard: Standard) -> Vec<f64> {
        let (base, whole) = (&self.costs[&self.race.ends.0], &self.costs[&self.race.ends.1]);
        let gains = less(&base[..costs.len()], whole);
        let margin = if gains.iter().sum::<f64>() > 0.0 { standard.margin } else { 0.0 };
        let differences = less(costs, &self.costs[&standard.reference]);
        differences.into_iter().zip(gains).map(|(difference, gain)| difference - margin * gain).collect()
    }

    /// The nearest boundaries, below and above, that have seen all samples.
    fn complete_neighbours(&self, boundary: usize) -> impl Iterator<Item = &Vec<f64>> {
        let is_complete = |(_, costs): &(&usize, &Vec<f64>)| self.is_complete(costs);
        let below = self.costs.range(..boundary).rfind(is_complete);
        let above = self.costs.range(boundary + 1..).find(is_complete);
        below.into_iter().chain(above).map(|(_, costs)| costs)
    }

    fn is_complete(&self, costs: &[f64]) -> bool {
        costs.len() == self.race.sizes.len()
    }

    fn mean(&self, values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / self.tokens(values.len()) as f64
    }

    /// The mean per token of all samples' `values`, given the first of them.
    fn predict(&self, values: &[f64], quantile: f64) -> Predicted {
        let (mean, unseen) = (self.mean(values), self.unseen(values.len()));
        let spread = if unseen > 0.0 { quantile * self.standard_error(values) * unseen.sqrt() } else { 0.0 };
        Predicted { least: mean - spread, most: mean + spread }
    }

    fn unseen(&self, m: usize) -> f64 {
        1.0 - m as f64 / self.race.sizes.len() as f64
    }

    fn standard_error(&self, values: &[f64]) -> f64 {
        standard_error(values, &self.race.sizes[..values.len()]).unwrap_or(f64::INFINITY)
    }

    /// Student's quantile for one of all comparisons that may be made, `each_look` of them at each look. The last look has
    /// nothing to predict.
    fn quantile(&self, m: usize, each_look: f64) -> f64 {
        let comparisons = (self.race.looks - 1).max(1) as f64 * each_look;
        student_quantile(1.0 - self.race.error / comparisons, draws(&self.race.sizes[..m]).saturating_sub(1).max(1))
    }

    /// The costs that a boundary would have on a straight line between its evaluated neighbours, and the larger second
    /// difference of the curve at these.
    fn interpolated(&self, boundary: usize) -> Option<(Vec<f64>, f64)> {
        let (&low, below) = self.costs.range(..boundary).next_back()?;
        let (&high, above) = self.costs.range(boundary + 1..).next()?;
        let weight = (boundary - low) as f64 / (high - low) as f64;
        let costs = below.iter().zip(above).map(|(below, above)| below + weight * (above - below)).collect();
        Some((costs, self.bend(low).max(self.bend(high))))
    }

    /// The second difference of the curve at an evaluated boundary, on the samples that it and its neighbours have seen.
    fn bend(&self, boundary: usize) -> f64 {
        let neighbours = self.costs.range(..boundary).next_back().zip(self.costs.range(boundary + 1..).next());
        let Some(((_, left), (_, right))) = neighbours else { return 0.0 };
        let middle = &self.costs[&boundary];
        let m = left.len().min(middle.len()).min(right.len());
        let sum: f64 = (0..m).map(|i| left[i] - 2.0 * middle[i] + right[i]).sum();
        sum.abs() / self.tokens(m) as f64
    }

    /// The answer tokens of the first `m` samples.
    fn tokens(&self, m: usize) -> usize {
        self.race.sizes[..m].iter().map(|size| size.tokens).sum()
    }
}

/// `a − b` for as many as both have.
fn less(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
