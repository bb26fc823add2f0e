//! From hidden states to losses: only answer positions, never all logits.
//!
//! The head is the largest matrix of a small model and its output the largest tensor of all, so it is read in chunks
//! of vocabulary and applied to chunks of answer positions. Of each chunk of logits only its log-sum-exp and the
//! answer's own logit survive.

use candle_core::{Device, Tensor};
use candle_nn::ops::rms_norm;

use super::Model;
use crate::error::Result;
use crate::samples::batch::Batch;

/// Rows of the head that are widened at once, and answer positions that meet them at once.
const VOCABULARY_CHUNK: usize = 4096;
const POSITION_CHUNK: usize = 2048;

/// The normalised hidden states from which a batch's answer tokens are predicted, of one stream.
pub struct AnswerRows(Tensor);

impl Model {
    /// The hidden states before the first layer: (tokens of the batch, hidden).
    pub fn embed(&self, batch: &Batch) -> Result<Tensor> {
        self.weights.embed(&batch.ids, &self.device)
    }

    /// Takes the answer positions of a stream's last hidden states (tokens, hidden) through the final norm.
    pub fn answer_rows(&self, hidden: &Tensor, batch: &Batch) -> Result<AnswerRows> {
        let positions = Tensor::from_iter(batch.answers.iter().map(|answer| answer.position as u32), &self.device)?;
        let norm = self.weights.final_norm(&self.device)?;
        let rows = hidden.index_select(&positions, 0)?;
        Ok(AnswerRows(rms_norm(&rows, &norm, self.config.norm_eps as f32)?))
    }

    /// The negative log-likelihood in nats of every answer token, for every stream: `[stream][answer of the batch]`.
    pub fn answer_losses(&self, streams: &[AnswerRows], batch: &Batch) -> Result<Vec<Vec<f64>>> {
        let answers = batch.answers.len();
        let targets: Vec<usize> = batch.answers.iter().map(|answer| answer.token as usize).collect();
        let mut sums = vec![vec![LogSum::EMPTY; answers]; streams.len()];
        let mut target_logits = vec![vec![0f64; answers]; streams.len()];
        let vocabulary = self.config.vocab_size;
        for first in (0..vocabulary).step_by(VOCABULARY_CHUNK) {
            let words = first..(first + VOCABULARY_CHUNK).min(vocabulary);
            let head_t = self.weights.head(&self.config, words.clone(), &self.device)?.t()?;
            for (stream, AnswerRows(rows)) in streams.iter().enumerate() {
                for start in (0..answers).step_by(POSITION_CHUNK) {
                    let count = POSITION_CHUNK.min(answers - start);
                    let logits = rows.narrow(0, start, count)?.matmul(&head_t)?;
                    let chunk = reduce(&logits, &targets[start..start + count], &words, &self.device)?;
                    for (offset, (sum, target)) in chunk.into_iter().enumerate() {
                        sums[stream][start + offset].add(sum);
                        if let Some(logit) = target {
                            target_logits[stream][start + offset] = logit;
                        }
                    }
                }
            }
        }
        let losses = |(sums, logits): (Vec<LogSum>, Vec<f64>)| {
            sums.iter().zip(logits).map(|(sum, logit)| sum.value() - logit).collect()
        };
        Ok(sums.into_iter().zip(target_logits).map(losses).collect())
    }
}

/// Of logits (positions, words): each row's log-sum-exp, and the logit of its target if that is among `words`.
fn reduce(
    logits: &Tensor,
    targets: &[usize],
    words: &std::ops::Range<usize>,
    device: &Device,
) -> Result<Vec<(f64, Option<f64>)>> {
    let sums = logits.log_sum_exp(1)?.to_vec1::<f32>()?;
    let column = |&target: &usize| if words.contains(&target) { (target - words.start) as u32 } else { 0 };
    let columns = Tensor::from_iter(targets.iter().map(column), device)?.reshape((targets.len(), 1))?;
    let chosen = logits.gather(&columns, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let rows = sums.into_iter().zip(chosen).zip(targets);
    Ok(rows
        .map(|((sum, logit), target)| (f64::from(sum), words.contains(target).then_some(f64::from(logit))))
        .collect())
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

    #[test]
    fn chunks_add_up_to_the_whole() {
        let logits = [3.0, -1.0, 700.0, 699.5, 2.0];
        let mut sum = LogSum::EMPTY;
        logits.iter().for_each(|&logit| sum.add(logit));
        let expected = 700.0 + (1.0 + (-0.5f64).exp()).ln();
        assert!((sum.value() - expected).abs() < 1e-12);
    }
}
