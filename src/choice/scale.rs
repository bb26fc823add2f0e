//! One scale for all that is kept: the search over it, and whether what it found is worth having.
//!
//! An adapter that is too sure of itself is cured by less of it, in fewer layers or in all of them; the loss as a function of
//! the scale is smooth and has one valley, so a coarse look and two finer ones find it. A scale other than 1 has to be surely
//! better than 1 on the samples; otherwise the adapter stays as it is.

use schemars::JsonSchema;
use serde::Serialize;

use super::compare::{Comparison, mean};
use crate::measure::Scores;

/// Scales are multiples of this, so that two are equal or not.
const FINEST: f64 = 1.0 / 16.0;

/// Where the search looks first, and how far from the best so far it looks then, in units of [`FINEST`].
const FULL: u32 = 16;
const FIRST: [u32; 6] = [4, 8, 12, 20, 24, 32];
const FINER: [u32; 2] = [2, 1];

/// A scale and what it makes of the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    units: u32,
    pub scores: Scores,
}

impl Scaled {
    pub fn scale(&self) -> f64 {
        f64::from(self.units) * FINEST
    }
}

/// The search for the scale with the lowest loss. It asks for scales, and is told what they give.
pub struct Tuning<'a> {
    /// The answer tokens of each sample.
    answers: &'a [usize],
    /// What is known, the scale 1 first.
    known: Vec<Scaled>,
    rounds: usize,
}

impl<'a> Tuning<'a> {
    /// Begins from what the adapter gives as it is.
    pub fn new(full: Scores, answers: &'a [usize]) -> Self {
        Self { answers, known: vec![Scaled { units: FULL, scores: full }], rounds: 0 }
    }

    /// The scales to evaluate next; none when the search is over.
    pub fn wanted(&mut self) -> Vec<f64> {
        let wanted: Vec<u32> = match self.rounds {
            0 => FIRST.into(),
            round => {
                let Some(&step) = FINER.get(round - 1) else { return Vec::new() };
                let best = self.lowest().units;
                [best.saturating_sub(step), best + step].into_iter().filter(|&units| units > 0).collect()
            }
        };
        self.rounds += 1;
        let is_new = |units: &u32| self.known.iter().all(|known| known.units != *units);
        wanted.into_iter().filter(is_new).map(|units| f64::from(units) * FINEST).collect()
    }

    /// Takes in what a scale gives.
    pub fn add(&mut self, scale: f64, scores: Scores) {
        let units = (scale / FINEST).round() as u32;
        self.known.push(Scaled { units, scores });
    }

    fn lowest(&self) -> &Scaled {
        let loss = |scaled: &Scaled| mean(&scaled.scores.per_sample, self.answers);
        self.known.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap_or(&self.known[0])
    }

    /// The scale with the lowest loss if it is surely better than 1, else 1; and all that was evaluated, lowest scale first.
    pub fn finish(mut self, confidence: f64) -> (Scaled, Vec<ScalePoint>) {
        let (lowest, full) = (self.lowest(), &self.known[0]);
        let compared = Comparison::new(&lowest.scores.per_sample, &full.scores.per_sample, self.answers, confidence);
        let chosen = if compared.is_surely_better() { lowest } else { full }.clone();
        self.known.sort_by_key(|known| known.units);
        let point =
            |scaled: &Scaled| ScalePoint { scale: scaled.scale(), loss: mean(&scaled.scores.per_sample, self.answers) };
        (chosen, self.known.iter().map(point).collect())
    }
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
        let answers = [1; 4];
        let scores = |scale: f64| {
            let per_sample = bottoms.iter().map(|bottom| 1.0 + (scale - bottom).powi(2)).collect();
            Scores { per_sample, right: vec![0; 4] }
        };
        let mut tuning = Tuning::new(scores(1.0), &answers);
        loop {
            let scales = tuning.wanted();
            if scales.is_empty() {
                break;
            }
            scales.into_iter().for_each(|scale| tuning.add(scale, scores(scale)));
        }
        let (chosen, points) = tuning.finish(0.95);
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
