//! The score of an answer token, from logits that come in chunks of the vocabulary.
//!
//! Of each chunk only the log-sum-exp, the largest logit and the answer's own are kept. Exponentials are summed in f32
//! inside a chunk and in f64 over the chunks.

use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor};
use rayon::prelude::*;

use crate::kernel::{self, elementwise::sum_exp};

/// How well the model predicts an answer token from all tokens before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// The negative log-likelihood in nats.
    pub loss: f64,
    /// Whether no other token is likelier: greedy decoding would continue with this one.
    pub correct: bool,
}

impl TokenScore {
    /// The probability that the model gives the token.
    pub fn probability(&self) -> f64 {
        (-self.loss).exp()
    }
}

/// Adds the logits (scores, vocabulary) of a chunk of the vocabulary, by vectorised code on the CPU.
pub fn add_on_cpu(scores: &mut [RunningScore], logits: &Tensor, vocabulary: &Range<usize>) -> TensorResult<()> {
    kernel::with_values(logits, |logits: &[f32]| {
        let rows = logits.par_chunks(vocabulary.len());
        scores.par_iter_mut().zip(rows).for_each(|(score, logits)| score.add(logits, vocabulary));
    })
}

/// As [`add_on_cpu`], on the device of the logits, which returns three numbers of each row.
pub fn add_on_device(scores: &mut [RunningScore], logits: &Tensor, vocabulary: &Range<usize>) -> TensorResult<()> {
    let place = |score: &RunningScore| score.place_in(vocabulary);
    // If the answer is in another chunk, any logit will do.
    let places: Vec<u32> = scores.iter().map(|score| place(score).unwrap_or(0) as u32).collect();
    let places = Tensor::from_vec(places, (scores.len(), 1), logits.device())?;
    let largest = logits.max_keepdim(1)?;
    let sums = logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(1)?;
    let rows = Tensor::cat(&[&largest, &sums, &logits.gather(&places, 1)?], 1)?.to_vec2::<f32>()?;
    for (score, row) in scores.iter_mut().zip(rows) {
        let [largest, sum, logit] = row[..] else { candle_core::bail!("{} numbers of a row of logits", row.len()) };
        score.sum.add(f64::from(largest) + f64::from(sum).ln());
        score.largest = score.largest.max(f64::from(largest));
        if place(score).is_some() {
            score.logit = f64::from(logit);
        }
    }
    Ok(())
}

/// The gradient of the losses of answers by their logits, of a chunk of the vocabulary: the probabilities, less 1 at the answers.
pub fn gradient(scores: &[RunningScore], logits: &Tensor, vocabulary: &Range<usize>) -> TensorResult<Tensor> {
    let sums: Vec<f32> = scores.iter().map(|score| score.sum.value() as f32).collect();
    let sums = Tensor::from_vec(sums, (scores.len(), 1), logits.device())?;
    let mut gradient = logits.broadcast_sub(&sums)?.exp()?.flatten_all()?.to_vec1::<f32>()?;
    for (score, row) in scores.iter().zip(gradient.chunks_mut(vocabulary.len())) {
        if let Some(place) = score.place_in(vocabulary) {
            row[place] -= 1.0;
        }
    }
    Tensor::from_vec(gradient, logits.shape(), logits.device())
}

/// What is kept of the logits of one answer position.
#[derive(Clone)]
pub struct RunningScore {
    sum: LogSum,
    /// Of the whole vocabulary, including the answer.
    largest: f64,
    /// The answer token, and its logit once its chunk was added.
    target: usize,
    logit: f64,
}

impl RunningScore {
    pub fn new(target: usize) -> Self {
        Self { sum: LogSum::EMPTY, largest: f64::NEG_INFINITY, target, logit: 0.0 }
    }

    pub fn token_score(&self) -> TokenScore {
        TokenScore { loss: self.sum.value() - self.logit, correct: self.logit >= self.largest }
    }

    /// The place of the answer in a chunk of the vocabulary, if it is there.
    fn place_in(&self, vocabulary: &Range<usize>) -> Option<usize> {
        vocabulary.contains(&self.target).then(|| self.target - vocabulary.start)
    }

    /// Adds the logits of a chunk of the vocabulary.
    fn add(&mut self, logits: &[f32], vocabulary: &Range<usize>) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scaled = sum_exp(logits, largest);
        self.sum.add(f64::from(largest) + scaled.ln());
        self.largest = self.largest.max(f64::from(largest));
        if let Some(place) = self.place_in(vocabulary) {
            self.logit = f64::from(logits[place]);
        }
    }
}

/// A running log(Σ exp) in f64.
#[derive(Clone, Copy)]
struct LogSum {
    largest: f64,
    /// Σ exp(x − largest)
    scaled: f64,
}

impl LogSum {
    const EMPTY: LogSum = LogSum { largest: f64::NEG_INFINITY, scaled: 0.0 };

    fn add(&mut self, log: f64) {
        if log > self.largest {
            self.scaled = self.scaled * (self.largest - log).exp() + 1.0;
            self.largest = log;
        } else {
            self.scaled += (log - self.largest).exp();
        }
    }

    fn value(self) -> f64 {
        self.largest + self.scaled.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn cpu_and_device_agree() -> TensorResult<()> {
        let vocabulary = 1000..1777;
        let logits = Tensor::randn(0f32, 20.0, (40, vocabulary.len()), &Device::Cpu)?;
        // Answers before, in and behind the chunk.
        let scores = |add: fn(&mut [RunningScore], &Tensor, &Range<usize>) -> TensorResult<()>| {
            let mut scores: Vec<RunningScore> = (0..40).map(|row| RunningScore::new(950 + 25 * row)).collect();
            add(&mut scores, &logits, &vocabulary)?;
            TensorResult::Ok(scores)
        };
        for (cpu, device) in scores(add_on_cpu)?.iter().zip(scores(add_on_device)?) {
            assert_eq!((cpu.logit, cpu.largest), (device.logit, device.largest));
            assert!((cpu.sum.value() - device.sum.value()).abs() < 1e-5, "answer {}", cpu.target);
        }
        Ok(())
    }

    #[test]
    fn an_answer_is_correct_if_no_other_token_is_likelier_in_any_chunk() {
        let correct = |answer: usize, logits: &[f32]| {
            let mut score = RunningScore::new(answer);
            for first in (0..logits.len()).step_by(2) {
                let vocabulary = first..(first + 2).min(logits.len());
                score.add(&logits[vocabulary.clone()], &vocabulary);
            }
            score.token_score().correct
        };
        let logits = [-3.0, -1.0, -2.5, -1.5, -2.0];
        assert_eq!((0..5).filter(|&answer| correct(answer, &logits)).collect::<Vec<_>>(), [1]);
        assert!(correct(4, &[0.0, 1.0, 2.0, 3.0, 3.5]) && !correct(3, &[0.0, 1.0, 2.0, 3.0, 3.5]));
    }

    #[test]
    fn chunks_add_up_to_the_whole() {
        let logits = [3.0, -1.0, 700.0, 699.5, 2.0];
        let mut sum = LogSum::EMPTY;
        logits.iter().for_each(|&logit| sum.add(logit));
        let expected = 700.0 + (1.0 + (-0.5f64).exp()).ln();
        assert!((sum.value() - expected).abs() < 1e-12);
    }
}
