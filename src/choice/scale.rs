//! One scale for all that is kept: the search for it, and whether it is better than 1.
//!
//! An overconfident adapter improves with less of it, in fewer layers or in all of them. The loss as a function of the scale is
//! smooth and has one minimum, so a coarse grid and two finer ones find it. A scale other than 1 is taken only if it is better
//! with confidence; otherwise the adapter stays as it is.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Comparison, Criterion};
use crate::measure::Measurement;

/// Scales are multiples of this, so that they can be compared exactly.
const FINEST: f64 = 1.0 / 16.0;

/// The first grid, and then the distances from the best scale so far, in units of [`FINEST`].
const FULL: u32 = 16;
const FIRST: [u32; 6] = [4, 8, 12, 20, 24, 32];
const FINER: [u32; 2] = [2, 1];

/// A scale and what was measured with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    units: u32,
    pub measurement: Measurement,
}

impl Scaled {
    pub fn scale(&self) -> f64 {
        f64::from(self.units) * FINEST
    }
}

/// The search for the scale with the lowest loss. It asks for scales and takes their measurements.
pub struct Tuning {
    /// The scales that are measured, scale 1 first.
    measured: Vec<Scaled>,
    rounds: usize,
}

impl Tuning {
    /// Starts from the adapter at full strength.
    pub fn new(full: Measurement) -> Self {
        Self { measured: vec![Scaled { units: FULL, measurement: full }], rounds: 0 }
    }

    /// The scales to measure next; none when the search is over.
    pub fn next_scales(&mut self) -> Vec<f64> {
        let next: Vec<u32> = match self.rounds {
            0 => FIRST.into(),
            round => {
                let Some(&step) = FINER.get(round - 1) else { return Vec::new() };
                let best = self.lowest().units;
                [best.saturating_sub(step), best + step].into_iter().filter(|&units| units > 0).collect()
            }
        };
        self.rounds += 1;
        let is_new = |units: &u32| self.measured.iter().all(|scaled| scaled.units != *units);
        next.into_iter().filter(is_new).map(|units| f64::from(units) * FINEST).collect()
    }

    pub fn add(&mut self, scale: f64, measurement: Measurement) {
        let units = (scale / FINEST).round() as u32;
        self.measured.push(Scaled { units, measurement });
    }

    fn lowest(&self) -> &Scaled {
        let lowest = self.measured.iter().min_by(|a, b| a.measurement.loss().total_cmp(&b.measurement.loss()));
        lowest.unwrap_or(&self.measured[0])
    }

    /// The scale with the lowest loss if it is better than 1 with confidence, otherwise 1; and all scales that were evaluated,
    /// lowest first.
    pub fn finish(mut self, confidence: f64, admits: impl Fn(&Measurement) -> bool) -> (Scaled, Vec<ScalePoint>) {
        let full = &self.measured[0];
        let admitted = self.measured.iter().filter(|scaled| admits(&scaled.measurement));
        let lowest = admitted.min_by(|a, b| a.measurement.loss().total_cmp(&b.measurement.loss())).unwrap_or(full);
        let compared = Comparison::new(Criterion::Loss, &lowest.measurement, &full.measurement, confidence);
        let chosen = if compared.is_surely_better() { lowest } else { full }.clone();
        self.measured.sort_by_key(|scaled| scaled.units);
        let point = |scaled: &Scaled| ScalePoint { scale: scaled.scale(), loss: scaled.measurement.loss() };
        (chosen, self.measured.iter().map(point).collect())
    }
}

/// What multiplies the changes of the layers that are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// The scale that is best on the samples.
    Tune,
    By(f64),
}

/// A scale that was evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ScalePoint {
    pub scale: f64,
    /// Nats per answer token.
    pub loss: f64,
}

/// A boundary at another scale than 1.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ScaledBoundary {
    pub boundary: usize,
    /// Nats per answer token.
    pub loss: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tunes where each sample's loss is a parabola with a bottom of its own.
    fn tuned(bottoms: [f64; 4]) -> (f64, usize) {
        let measured =
            |scale: f64| Measurement::of_losses(&bottoms.map(|bottom| 1.0 + (scale - bottom).powi(2)), &[1; 4]);
        let mut tuning = Tuning::new(measured(1.0));
        loop {
            let scales = tuning.next_scales();
            if scales.is_empty() {
                break;
            }
            scales.into_iter().for_each(|scale| tuning.add(scale, measured(scale)));
        }
        let (chosen, points) = tuning.finish(0.95, |_| true);
        (chosen.scale(), points.len())
    }

    #[test]
    fn the_bottom_is_found_to_a_sixteenth() {
        assert_eq!(tuned([0.43, 0.45, 0.44, 0.42]), (0.4375, 11));
        assert_eq!(tuned([1.72, 1.7, 1.71, 1.69]), (1.6875, 11));
        assert_eq!(tuned([0.01, 0.02, 0.0, 0.01]).0, 0.0625);
        assert!(tuned([2.2, 2.1, 2.2, 2.2]).0 > 2.0);
    }

    #[test]
    fn what_is_not_surely_better_stays_as_it_is() {
        // The mean of the bottoms is 0.9, but some samples want more.
        assert_eq!(tuned([0.2, 1.5, 0.3, 1.6]).0, 1.0);
        assert_eq!(tuned([1.0; 4]), (1.0, 11));
    }
}
