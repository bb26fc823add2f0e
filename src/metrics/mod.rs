//! Scores of generated texts, equal to those of the reference implementations.
//!
//! A metric is two pure functions: the counts of a pair of texts, and the score of summed counts. So the scores of a corpus, of
//! one pair and of resampled pairs all come from the same counts, as in sacrebleu.

mod bleu;
mod chrf;
mod difference;
mod rouge;
mod score;
mod squad;
mod words;

use schemars::JsonSchema;
use serde::Serialize;

pub use difference::Difference;
pub use score::Score;

/// How predictions are compared with references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of answers that are equal but for case, punctuation, articles and white space (SQuAD 2.0)
    ExactMatch,
    /// The harmonic mean of precision and recall of the words, with the same exceptions (SQuAD 2.0)
    F1,
    /// The same for the longest common subsequence; only a-z and 0-9 count (rouge-score, without stemming)
    RougeL,
    /// BLEU of all answers together (sacrebleu: 13a tokens, exponential smoothing)
    Bleu,
    /// chrF2 of all answers together (sacrebleu: n-grams of up to six characters)
    Chrf,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Metric; 5] = [Metric::ExactMatch, Metric::F1, Metric::RougeL, Metric::Bleu, Metric::Chrf];

    /// The name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact-match",
            Metric::F1 => "f1",
            Metric::RougeL => "rouge-l",
            Metric::Bleu => "bleu",
            Metric::Chrf => "chrf",
        }
    }

    /// The counts of a pair of texts. Each metric has a fixed number of them.
    pub fn counts(self, prediction: &str, reference: &str) -> Vec<f64> {
        match self {
            // A mean is a sum of scores over a sum of ones.
            Metric::ExactMatch => vec![squad::exact_match(prediction, reference), 1.0],
            Metric::F1 => vec![squad::f1(prediction, reference), 1.0],
            Metric::RougeL => vec![rouge::rouge_l(prediction, reference), 1.0],
            Metric::Bleu => bleu::counts(prediction, reference).into(),
            Metric::Chrf => chrf::counts(prediction, reference).into(),
        }
    }

    /// The score of summed counts, from 0 to 100. (rouge-score itself returns shares.)
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

/// The sum of the counts of several pairs.
pub fn summed<'a>(counts: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sum: Vec<f64> = Vec::new();
    for counts in counts {
        sum.resize(counts.len(), 0.0);
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sum
}

/// 2 · precision · recall / (precision + recall) of `common` parts; 0 if there are none.
fn f_measure(common: usize, predicted: usize, expected: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / predicted as f64, common as f64 / expected as f64);
    2.0 * precision * recall / (precision + recall)
}
