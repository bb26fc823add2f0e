//! What a model does on samples with some profile of an adapter: the one measurement behind every figure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::samples::{Sample, draws};

/// How well a sample's answer tokens are predicted, each given all tokens before it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SampleScore {
    /// The negative log-likelihood of the answer tokens, summed, in nats.
    pub loss: f64,
    /// The probabilities of the answer tokens, summed: how many of them sampling at temperature 1 would get right.
    pub probability: f64,
    /// How many answer tokens are correct: no other token is likelier.
    pub correct: usize,
    /// The part of `loss` that is due to tokens that end an answer.
    pub end_loss: f64,
    /// How many of the tokens that end an answer are correct.
    pub end_correct: usize,
}

impl SampleScore {
    /// A score that has nothing but a loss.
    pub fn of_loss(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }
}

/// How much a sample weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SampleSize {
    /// How many of its tokens are scored.
    pub tokens: usize,
    /// Those of them that end an answer.
    pub ends: usize,
    /// The independent draw that it is a part of, counted from 0.
    pub draw: usize,
    /// The slice that it is a part of, counted from 0.
    pub slice: usize,
}

impl SampleSize {
    /// The sizes of samples.
    pub fn of_all(samples: &[Sample]) -> Arc<[Self]> {
        let sized = samples.iter().zip(draws::of(samples));
        sized
            .map(|(sample, draw)| Self { tokens: sample.answers(), ends: sample.ends.len(), draw, slice: sample.slice })
            .collect()
    }

    /// The samples of each slice, as indices; empty if all are of one.
    pub fn slices(sizes: &[Self]) -> Vec<Vec<usize>> {
        let Some(last) = sizes.iter().map(|size| size.slice).max().filter(|&last| last > 0) else { return Vec::new() };
        let of_slice = |slice| (0..sizes.len()).filter(|&sample| sizes[sample].slice == slice).collect();
        (0..=last).map(of_slice).filter(|samples: &Vec<usize>| !samples.is_empty()).collect()
    }

    /// The samples of each draw, as indices.
    pub fn draws(sizes: &[Self]) -> Vec<Vec<usize>> {
        let mut draws: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (sample, size) in sizes.iter().enumerate() {
            draws.entry(size.draw).or_default().push(sample);
        }
        draws.into_values().collect()
    }
}

/// The score of each sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub scores: Vec<SampleScore>,
    /// One for each score; shared by all measurements on the same samples.
    pub sizes: Arc<[SampleSize]>,
}

impl Default for Measurement {
    fn default() -> Self {
        Self { scores: Vec::new(), sizes: Arc::new([]) }
    }
}

impl Measurement {
    /// A measurement of samples of these sizes, to be filled in.
    pub fn zero(sizes: Arc<[SampleSize]>) -> Self {
        Self { scores: vec![SampleScore::default(); sizes.len()], sizes }
    }

    /// A measurement of which nothing but the losses is known, on samples with so many answer tokens.
    pub fn of_losses(losses: &[f64], tokens: &[usize]) -> Self {
        let sizes =
            tokens.iter().enumerate().map(|(draw, &tokens)| SampleSize { tokens, ends: 0, draw, slice: 0 }).collect();
        Self { scores: losses.iter().copied().map(SampleScore::of_loss).collect(), sizes }
    }

    /// The loss of each sample.
    pub fn losses(&self) -> impl Iterator<Item = f64> + use<'_> {
        self.scores.iter().map(|score| score.loss)
    }

    /// The mean loss in nats per answer token.
    pub fn loss(&self) -> f64 {
        self.scores.iter().map(|score| score.loss).sum::<f64>() / self.tokens() as f64
    }

    /// The mean probability of an answer token.
    pub fn token_probability(&self) -> f64 {
        self.scores.iter().map(|score| score.probability).sum::<f64>() / self.tokens() as f64
    }

    /// The share of answer tokens that are correct.
    pub fn token_accuracy(&self) -> f64 {
        self.scores.iter().map(|score| score.correct).sum::<usize>() as f64 / self.tokens() as f64
    }

    /// The share of samples all of whose answer tokens are correct.
    pub fn exact_match(&self) -> f64 {
        let matches = self.scores.iter().zip(&*self.sizes).filter(|(score, size)| score.correct == size.tokens);
        matches.count() as f64 / self.sizes.len() as f64
    }

    /// The mean loss in nats, and the share that is correct, of the tokens that end an answer; `None` if there are none.
    pub fn at_ends(&self) -> Option<(f64, f64)> {
        let ends = self.sizes.iter().map(|size| size.ends).sum::<usize>();
        let (loss, correct) = self
            .scores
            .iter()
            .fold((0.0, 0), |(loss, correct), score| (loss + score.end_loss, correct + score.end_correct));
        (ends > 0).then(|| (loss / ends as f64, correct as f64 / ends as f64))
    }

    /// The answer tokens of all samples together.
    fn tokens(&self) -> usize {
        self.sizes.iter().map(|size| size.tokens).sum()
    }

    /// The measurement on some of its samples, given by their indices.
    pub fn select(&self, samples: &[usize]) -> Self {
        self.select_with(samples, samples.iter().map(|&sample| self.sizes[sample]).collect())
    }

    /// As [`select`](Self::select), where the sizes of those samples are known.
    pub(crate) fn select_with(&self, samples: &[usize], sizes: Arc<[SampleSize]>) -> Self {
        Self { scores: samples.iter().map(|&sample| self.scores[sample]).collect(), sizes }
    }
}

/// A boundary, measured: the adapter is on in the layers below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    pub boundary: usize,
    pub measurement: Measurement,
}

/// The measurements of an adapter's boundaries, lowest first: the first is the base model, the last the whole adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub points: Vec<Point>,
    /// What it cost.
    pub work: Work,
}

impl Curve {
    /// The size of each sample.
    pub fn sizes(&self) -> &Arc<[SampleSize]> {
        &self.points[0].measurement.sizes
    }

    /// The measurement of a boundary, if the curve has it.
    pub fn at(&self, boundary: usize) -> Option<&Measurement> {
        self.points.iter().find(|point| point.boundary == boundary).map(|point| &point.measurement)
    }

    /// The base model alone.
    pub fn base(&self) -> &Point {
        &self.points[0]
    }

    /// The whole adapter.
    pub fn whole(&self) -> &Point {
        &self.points[self.points.len() - 1]
    }

    /// The curve on resampled draws, each given by the indices of its samples. A draw that comes up twice counts as two.
    pub fn resample<'a>(&self, drawn: impl IntoIterator<Item = &'a Vec<usize>>) -> Self {
        let (mut samples, mut sizes) = (Vec::new(), Vec::new());
        for (draw, members) in drawn.into_iter().enumerate() {
            samples.extend(members);
            sizes.extend(members.iter().map(|&sample| SampleSize { draw, ..self.sizes()[sample] }));
        }
        self.select_with(&samples, sizes.into())
    }

    /// The curve on some of its samples, given by their indices.
    pub fn select(&self, samples: &[usize]) -> Self {
        self.select_with(samples, samples.iter().map(|&sample| self.sizes()[sample]).collect())
    }

    fn select_with(&self, samples: &[usize], sizes: Arc<[SampleSize]>) -> Self {
        let select = |point: &Point| Point {
            boundary: point.boundary,
            measurement: point.measurement.select_with(samples, sizes.clone()),
        };
        Self { points: self.points.iter().map(select).collect(), work: self.work }
    }
}

/// What measuring cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// How often the base weights were read.
    pub passes: usize,
    /// Tokens times layers that went through the decoder. What several adapters share counts for the first of them.
    pub layer_tokens: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.passes += other.passes;
        self.layer_tokens += other.layer_tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_tokens_and_exact_match_samples() {
        let size = |tokens| SampleSize { tokens, ends: tokens % 2, draw: tokens, slice: 0 };
        let score = |correct| SampleScore {
            correct,
            probability: 0.5 * correct as f64,
            end_loss: 0.25,
            end_correct: correct % 2,
            ..SampleScore::of_loss(1.0)
        };
        let measurement = Measurement { scores: [1, 1, 3, 2].map(score).into(), sizes: [1, 2, 3, 4].map(size).into() };
        assert_eq!(measurement.loss(), 0.4);
        assert_eq!(measurement.token_accuracy(), 0.7);
        assert_eq!(measurement.token_probability(), 0.35);
        assert_eq!(measurement.exact_match(), 0.5);
        assert_eq!(measurement.at_ends(), Some((0.5, 1.5)));
        assert_eq!(measurement.select(&[0, 0, 3]).token_accuracy(), 4.0 / 6.0);
        assert_eq!(measurement.select(&[1, 3]).at_ends(), None);
    }
}
