//! What generated texts are worth: the scores of a task, equal to those of the reference implementations.
//!
//! Every metric is two pure functions: what a pair of texts adds to the counts of all, and what counts come to. So scores of
//! a corpus, of one pair and of samples drawn anew all come from the same counts, as in sacrebleu.

mod bleu;
mod chrf;
mod difference;
mod rouge;
mod squad;
mod words;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

pub use difference::Difference;

/// How predictions are compared with references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of answers that are equal but for case, punctuation, articles and white space (SQuAD 2.0)
    ExactMatch,
    /// The harmonic mean of precision and recall of the words, with the same exceptions (SQuAD 2.0)
    F1,
    /// The same of the longest common subsequence; only a-z and 0-9 count (rouge-score, without stemming)
    RougeL,
    /// BLEU of all answers together (sacrebleu: 13a tokens, exponential smoothing)
    Bleu,
    /// chrF2 of all answers together (sacrebleu: n-grams of up to six characters)
    Chrf,
}

impl Metric {
    /// The name that the flag takes and reports show.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact-match",
            Metric::F1 => "f1",
            Metric::RougeL => "rouge-l",
            Metric::Bleu => "bleu",
            Metric::Chrf => "chrf",
        }
    }

    /// What a pair of texts adds to the counts of all; as many numbers for every pair.
    pub fn counts(self, prediction: &str, reference: &str) -> Vec<f64> {
        match self {
            // Means are sums over as many ones.
            Metric::ExactMatch => vec![squad::exact_match(prediction, reference), 1.0],
            Metric::F1 => vec![squad::f1(prediction, reference), 1.0],
            Metric::RougeL => vec![rouge::rouge_l(prediction, reference), 1.0],
            Metric::Bleu => bleu::counts(prediction, reference).into(),
            Metric::Chrf => chrf::counts(prediction, reference).into(),
        }
    }

    /// The score that summed counts come to, from 0 to 100. (rouge-score itself gives shares.)
    pub fn score(self, counts: &[f64]) -> f64 {
        match self {
            Metric::ExactMatch | Metric::F1 | Metric::RougeL => match counts {
                [sum, count] if *count > 0.0 => 100.0 * sum / count,
                _ => 0.0,
            },
            Metric::Bleu => bleu::score(counts),
            Metric::Chrf => chrf::score(counts),
        }
    }
}

/// The counts of several pairs together.
pub fn summed<'a>(counts: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sum: Vec<f64> = Vec::new();
    for counts in counts {
        sum.resize(counts.len(), 0.0);
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sum
}

/// 2 · precision · recall / (precision + recall) of `common` parts; 0 where there are none.
fn f_measure(common: usize, predicted: usize, expected: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / predicted as f64, common as f64 / expected as f64);
    2.0 * precision * recall / (precision + recall)
}
