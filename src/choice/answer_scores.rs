//! The scores of generated answers by boundary: what a choice by the task's own score compares.

use std::collections::BTreeMap;

use crate::measure::SampleSize;
use crate::metrics::{Difference, Score, summed};

/// The answers of the base model, of the whole adapter, and at the boundaries that may be chosen.
#[derive(Debug, Clone)]
pub struct AnswerScores {
    pub score: Score,
    /// The samples of each independent draw.
    draws: Vec<Vec<usize>>,
    /// As `draws`, of the samples of each slice; empty if they are not sliced.
    draws_of_slices: Vec<Vec<Vec<usize>>>,
    /// What a score is computed from: by boundary, of each sample. The first is the base model, the last the whole adapter.
    counts: BTreeMap<usize, Vec<Vec<f64>>>,
}

impl AnswerScores {
    /// Scores of samples of these sizes, without any answers.
    pub fn new(score: Score, sizes: &[SampleSize]) -> Self {
        let draws = SampleSize::draws(sizes);
        let of_slice = |samples: Vec<usize>| -> Vec<Vec<usize>> {
            let inside = |draw: &Vec<usize>| draw.iter().copied().filter(|sample| samples.contains(sample)).collect();
            draws.iter().map(inside).filter(|draw: &Vec<usize>| !draw.is_empty()).collect()
        };
        let draws_of_slices = SampleSize::slices(sizes).into_iter().map(of_slice).collect();
        Self { score, draws, draws_of_slices, counts: BTreeMap::new() }
    }

    /// Adds the counts of the answers at a boundary, one of each sample.
    pub fn add(&mut self, boundary: usize, counts: Vec<Vec<f64>>) {
        self.counts.insert(boundary, counts);
    }

    /// Whether there are answers at a boundary.
    pub fn has(&self, boundary: usize) -> bool {
        self.counts.contains_key(&boundary)
    }

    /// How many boundaries have answers between the base model and the whole adapter.
    pub fn candidates(&self) -> usize {
        self.counts.len().saturating_sub(2)
    }

    /// The score at a boundary, if there are answers.
    pub fn at(&self, boundary: usize) -> Option<f64> {
        self.counts.get(&boundary).map(|counts| self.score.of_counts(&summed(counts)))
    }

    /// Whether the whole adapter scores higher than the base model.
    pub fn gains(&self) -> bool {
        self.margin(1.0) > 0.0
    }

    /// Whether there are draws enough to prove anything with this confidence: as many as a sign test needs in which all agree. The
    /// bootstrap of fewer would take any few equal answers for proof.
    pub fn suffice(&self, confidence: f64) -> bool {
        let enough = |draws: &Vec<Vec<usize>>| 0.5f64.powi(draws.len() as i32) <= 1.0 - confidence;
        enough(&self.draws) && self.draws_of_slices.iter().all(enough)
    }

    /// A share of what the whole adapter scores above the base model; 0 where it scores no higher.
    pub fn margin(&self, share: f64) -> f64 {
        self.margin_on(&self.draws, share)
    }

    /// A boundary against the whole adapter, with bounds of this one-sided confidence.
    pub fn to_whole(&self, boundary: usize, confidence: f64) -> Option<Difference> {
        Some(self.compare(self.counts.get(&boundary)?, self.whole()?, &self.draws, confidence))
    }

    /// Whether answers, given by the counts of each sample, score, with confidence, lower than those of the whole adapter by no more
    /// than a share of its gain: on all samples and, if they are sliced, on those of each slice.
    pub fn holds(&self, counts: &[Vec<f64>], share: f64, confidence: f64) -> bool {
        let holds_on = |draws: &Vec<Vec<usize>>| {
            let least =
                self.whole().and_then(|whole| self.compare(counts, whole, draws, confidence).difference_at_least);
            least.is_some_and(|least| least >= -self.margin_on(draws, share))
        };
        self.suffice(confidence) && holds_on(&self.draws) && self.draws_of_slices.iter().all(holds_on)
    }

    /// As [`holds`](Self::holds), of a boundary.
    pub fn holds_at(&self, boundary: usize, share: f64, confidence: f64) -> bool {
        self.counts.get(&boundary).is_some_and(|counts| self.holds(counts, share, confidence))
    }

    fn whole(&self) -> Option<&Vec<Vec<f64>>> {
        self.counts.values().next_back()
    }

    fn margin_on(&self, draws: &[Vec<usize>], share: f64) -> f64 {
        let score =
            |counts: &Vec<Vec<f64>>| self.score.of_counts(&summed(draws.iter().flatten().map(|&one| &counts[one])));
        let ends = self.counts.values().next().zip(self.whole());
        ends.map_or(0.0, |(base, whole)| share * (score(whole) - score(base)).max(0.0))
    }

    fn compare(&self, one: &[Vec<f64>], other: &[Vec<f64>], draws: &[Vec<usize>], confidence: f64) -> Difference {
        Difference::of(self.score, one, other, draws, confidence)
    }
}
