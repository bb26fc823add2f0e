//! From hidden states to losses: only answer positions, never all logits.
//!
//! The head is the largest matrix of a small model and its output the largest tensor of all, so it is read in chunks
//! of vocabulary and applied to chunks of answer positions. Of each chunk of logits only its log-sum-exp, its largest one
//! and the answer's own survive.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor};
use rayon::prelude::*;

use super::ends::AdaptedModel;
use super::layer::{scaled, softcapped};
use super::linear::Linear;
use super::pass::Pass;
use crate::error::Result;
use crate::kernel::{self, elementwise::sum_exp};
use crate::samples::packing::Batch;

/// Rows of the head that are widened at once, and answer positions that meet them at once.
const VOCABULARY_CHUNK: usize = 4096;
const POSITION_CHUNK: usize = 2048;

/// The normalised hidden states from which a batch's answer tokens are predicted, of one stream.
pub struct AnswerRows(Tensor);

/// What the model makes of an answer token, given all tokens before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The negative log-likelihood in nats.
    pub loss: f64,
    /// Whether no other word is likelier: greedy decoding would go on with this one.
    pub right: bool,
}

impl AdaptedModel<'_> {
    /// The hidden states before the first layer: (tokens of the batch, hidden).
    pub fn first_hidden(&self, batch: &Batch) -> Result<Tensor> {
        let model = self.model();
        let mut hidden = scaled(self.embed(&batch.ids)?, model.config.scales.embedding)?;
        let positions: Vec<u32> = batch.positions().flat_map(|(range, _)| range).map(|place| place as u32).collect();
        if let Some(embedded) = model.weights.embed_positions(&positions, &model.device)? {
            hidden = (hidden + embedded)?;
        }
        match self.embedding_norm() {
            Some(norm) => Ok(norm.forward(&hidden, model.config.family.norms, model.config.norm_eps)?),
            None => Ok(hidden),
        }
    }

    /// Takes the answer rows of a stream's hidden states (rows, hidden) behind its first `layers` layers, all of them as a
    /// rule, through the final norm.
    pub fn answer_rows(&self, hidden: &Tensor, pass: &Pass, layers: usize) -> Result<AnswerRows> {
        let config = &self.model().config;
        let rows = hidden.index_select(pass.answers_behind(layers), 0)?;
        Ok(AnswerRows(self.final_norm().forward(&rows, config.family.norms, config.norm_eps)?))
    }

    /// What every stream makes of every answer token: `[stream][answer of the batch]`.
    pub fn outcomes(&self, streams: &[AnswerRows], batch: &Batch) -> Result<Vec<Vec<Outcome>>> {
        let answers = batch.answers.len();
        let rows = Tensor::cat(&streams.iter().map(|AnswerRows(rows)| rows).collect::<Vec<_>>(), 0)?;
        let mut scores: Vec<Score> =
            (0..streams.len()).flat_map(|_| &batch.answers).map(|answer| Score::new(answer.token as usize)).collect();
        self.for_each_chunk(
            &rows,
            |words| self.head(words),
            |positions, words, logits| {
                let scores = &mut scores[positions];
                match logits.device().is_cpu() {
                    true => add_on_host(scores, logits, words),
                    false => add_on_device(scores, logits, words),
                }
            },
        )?;
        let outcomes: Vec<Outcome> = scores.iter().map(Score::outcome).collect();
        Ok(outcomes.chunks(answers).map(<[Outcome]>::to_vec).collect())
    }

    /// The likeliest word behind each answer row of every stream, of equally likely ones the first. The head's chunks come
    /// from `kept`, if it is given, once they were read.
    pub fn likeliest(&self, streams: &[AnswerRows], mut kept: Option<&mut KeptHead>) -> Result<Vec<Vec<u32>>> {
        let rows = Tensor::cat(&streams.iter().map(|AnswerRows(rows)| rows).collect::<Vec<_>>(), 0)?;
        let mut largest = vec![(f32::NEG_INFINITY, 0); rows.dim(0)?];
        let head = |words: Range<usize>| match &mut kept {
            Some(kept) => kept.read(self, words),
            None => self.head(words),
        };
        self.for_each_chunk(&rows, head, |positions, words, logits| {
            let places = logits.argmax_keepdim(1)?;
            let chunk = logits.gather(&places, 1)?.flatten_all()?.to_vec1::<f32>()?;
            let places = places.flatten_all()?.to_vec1::<u32>()?;
            for (largest, (logit, place)) in largest[positions].iter_mut().zip(chunk.into_iter().zip(places)) {
                if logit > largest.0 {
                    *largest = (logit, words.start as u32 + place);
                }
            }
            Ok(())
        })?;
        let mut words = largest.into_iter().map(|(_, word)| word);
        streams.iter().map(|AnswerRows(rows)| Ok(words.by_ref().take(rows.dim(0)?).collect())).collect()
    }

    /// Shows the logits of normalised hidden states (rows, hidden) in chunks: which rows, which words, and (rows, words).
    fn for_each_chunk(
        &self,
        rows: &Tensor,
        mut head: impl FnMut(Range<usize>) -> Result<Linear>,
        mut see: impl FnMut(Range<usize>, &Range<usize>, &Tensor) -> TensorResult<()>,
    ) -> Result<()> {
        let (config, vocabulary, count) = (&self.model().config, self.words()?, rows.dim(0)?);
        for first in (0..vocabulary).step_by(VOCABULARY_CHUNK) {
            let words = first..(first + VOCABULARY_CHUNK).min(vocabulary);
            let head = head(words.clone())?;
            for first in (0..count).step_by(POSITION_CHUNK) {
                let positions = first..(first + POSITION_CHUNK).min(count);
                let logits = head.forward(&rows.narrow(0, positions.start, positions.len())?)?;
                let logits = softcapped(scaled(logits, config.scales.logits)?, config.softcaps.logits)?;
                see(positions, &words, &logits)?;
            }
        }
        Ok(())
    }
}

/// The chunks of a head that were read, for those who need it again and again.
#[derive(Default)]
pub struct KeptHead(BTreeMap<usize, Linear>);

impl KeptHead {
    fn read(&mut self, ends: &AdaptedModel, words: Range<usize>) -> Result<Linear> {
        if let Some(head) = self.0.get(&words.start) {
            return Ok(head.clone());
        }
        let head = ends.head(words.clone())?;
        self.0.insert(words.start, head.clone());
        Ok(head)
    }
}

/// Takes in the logits (scores, words) of a chunk of the vocabulary by vector code of processors.
fn add_on_host(scores: &mut [Score], logits: &Tensor, words: &Range<usize>) -> TensorResult<()> {
    kernel::with_values(logits, |logits: &[f32]| {
        let rows = logits.par_chunks(words.len());
        scores.par_iter_mut().zip(rows).for_each(|(score, logits)| score.add(logits, words));
    })
}

/// As [`add_on_host`], by the device that the logits are on, which gives back three numbers of each row.
fn add_on_device(scores: &mut [Score], logits: &Tensor, words: &Range<usize>) -> TensorResult<()> {
    let place = |score: &Score| score.place_in(words);
    // Where the answer is in another chunk, any logit will do.
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

/// What is kept of the logits of one answer position.
struct Score {
    sum: LogSum,
    /// Of all words, the answer among them.
    largest: f64,
    /// The answer token, and its logit once the chunk that holds it was seen.
    target: usize,
    logit: f64,
}

impl Score {
    fn new(target: usize) -> Self {
        Self { sum: LogSum::EMPTY, largest: f64::NEG_INFINITY, target, logit: 0.0 }
    }

    fn outcome(&self) -> Outcome {
        Outcome { loss: self.sum.value() - self.logit, right: self.logit >= self.largest }
    }

    /// Takes in the logits of a chunk of the vocabulary.
    fn add(&mut self, logits: &[f32], words: &Range<usize>) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scaled = sum_exp(logits, largest);
        self.sum.add(f64::from(largest) + scaled.ln());
        self.largest = self.largest.max(f64::from(largest));
        if let Some(place) = self.place_in(words) {
            self.logit = f64::from(logits[place]);
        }
    }

    /// Where the answer is in a chunk of the vocabulary, if it is there.
    fn place_in(&self, words: &Range<usize>) -> Option<usize> {
        words.contains(&self.target).then(|| self.target - words.start)
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
    fn host_and_device_see_the_same() -> TensorResult<()> {
        let words = 1000..1777;
        let logits = Tensor::randn(0f32, 20.0, (40, words.len()), &Device::Cpu)?;
        // Answers before, in and behind the chunk.
        let scores = |add: fn(&mut [Score], &Tensor, &Range<usize>) -> TensorResult<()>| {
            let mut scores: Vec<Score> = (0..40).map(|row| Score::new(950 + 25 * row)).collect();
            add(&mut scores, &logits, &words)?;
            TensorResult::Ok(scores)
        };
        for (host, device) in scores(add_on_host)?.iter().zip(scores(add_on_device)?) {
            assert_eq!((host.logit, host.largest), (device.logit, device.largest));
            assert!((host.sum.value() - device.sum.value()).abs() < 1e-5, "answer {}", host.target);
        }
        Ok(())
    }

    #[test]
    fn an_answer_is_right_if_no_other_word_is_likelier_in_any_chunk() {
        let right = |answer: usize, logits: &[f32]| {
            let mut score = Score::new(answer);
            for first in (0..logits.len()).step_by(2) {
                let words = first..(first + 2).min(logits.len());
                score.add(&logits[words.clone()], &words);
            }
            score.outcome().right
        };
        let logits = [-3.0, -1.0, -2.5, -1.5, -2.0];
        assert_eq!((0..5).filter(|&answer| right(answer, &logits)).collect::<Vec<_>>(), [1]);
        assert!(right(4, &[0.0, 1.0, 2.0, 3.0, 3.5]) && !right(3, &[0.0, 1.0, 2.0, 3.0, 3.5]));
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
