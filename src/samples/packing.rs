//! Packing samples into passes through the model: how many go together, in which order, and what need not be computed.
//!
//! Samples are not padded. A prefix that all samples of a pass share, usually a system prompt, goes through once. The last answer
//! token and everything after it do not go through at all, because nothing is predicted from them.

use std::ops::Range;

use super::Sample;

/// The samples of one pass: first the tokens that they share, then those of each sample, with equal lengths side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The tokens, one for each row.
    pub ids: Vec<u32>,
    /// The number of rows of the prefix, which come first.
    pub prefix: usize,
    /// The rows of each sample after the prefix, in order.
    pub sequences: Vec<SampleRows>,
    pub groups: Vec<LengthGroup>,
    /// The answer tokens, sample by sample.
    pub answers: Vec<AnswerToken>,
    /// The indices of the samples, in the order of the batch, and their places in `answers`.
    pub samples: Vec<(usize, Range<usize>)>,
}

/// The rows of one sample after the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRows {
    pub rows: Range<usize>,
    /// The number of tokens that went through in earlier passes: zero except during generation.
    pub before: usize,
    /// The length of the whole sample, which some rotary embeddings depend on.
    pub total: usize,
    /// The number of tokens of the sample before its first answer; during generation, of those in the first pass.
    pub prompt: usize,
    /// The number of last rows, beginning with the first from which an answer is predicted. The last layer computes no others.
    pub answered: usize,
}

/// Samples of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LengthGroup {
    /// The first row of the group in the batch.
    pub start: usize,
    pub samples: usize,
    pub length: usize,
}

impl LengthGroup {
    /// The number of rows.
    pub fn tokens(&self) -> usize {
        self.samples * self.length
    }
}

/// A token that is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerToken {
    /// The row of the batch from which the token is predicted, which is the one before its own.
    pub position: usize,
    pub token: u32,
    /// Whether it ends an answer.
    pub is_end: bool,
}

impl Batch {
    /// The number of rows.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The positions of the rows, range by range, each with the length of its sample. The prefix counts as part of the first
    /// sample: it is shared only where that makes no difference.
    pub fn positions(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let total = self.sequences.first().map_or(0, |sequence| sequence.total);
        let own = self.sequences.iter().map(|sequence| {
            let first = self.prefix + sequence.before;
            (first..first + sequence.rows.len(), sequence.total)
        });
        std::iter::once((0..self.prefix, total)).chain(own)
    }

    /// The last rows of each sample, from the first on from which an answer is predicted.
    pub fn answered_rows(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().flat_map(|sequence| sequence.rows.end - sequence.answered..sequence.rows.end)
    }

    /// The next rows of growing sequences, each given by its tokens so far and the number that earlier passes took.
    pub fn growing<'a>(sequences: impl IntoIterator<Item = (&'a [u32], usize)>) -> Self {
        let mut batch = Batch::default();
        for (ids, before) in sequences {
            let start = batch.ids.len();
            batch.ids.extend(&ids[before..]);
            let (rows, total) = (start..batch.ids.len(), ids.len());
            let prompt = if before == 0 { total } else { 0 };
            batch.sequences.push(SampleRows { rows, before, total, prompt, answered: 1 });
        }
        batch
    }

    fn new(samples: &[Sample], order: &[usize], prefix: usize) -> Self {
        let ids = order.first().map_or(Vec::new(), |&index| samples[index].ids[..prefix].to_vec());
        let mut batch = Batch { ids, prefix, ..Batch::default() };
        for &index in order {
            let sample = &samples[index];
            let (start, length) = (batch.ids.len(), sample.last_answer() - prefix);
            match batch.groups.last_mut() {
                Some(group) if group.length == length => group.samples += 1,
                _ => batch.groups.push(LengthGroup { start, samples: 1, length }),
            }
            let first_answer = batch.answers.len();
            let scored = (1..sample.ids.len()).filter(|&place| sample.scored[place]);
            batch.answers.extend(scored.map(|place| AnswerToken {
                position: start + place - 1 - prefix,
                token: sample.ids[place],
                is_end: sample.ends.contains(&place),
            }));
            batch.samples.push((index, first_answer..batch.answers.len()));
            let answered = sample.last_answer() + 1 - sample.first_answer();
            let total = sample.ids.len();
            let prompt = sample.first_answer();
            batch.sequences.push(SampleRows { rows: start..start + length, before: 0, total, prompt, answered });
            batch.ids.extend(&sample.ids[prefix..sample.last_answer()]);
        }
        batch
    }
}

/// Divides samples into passes of at most `tokens` tokens each (but at least one sample), shortest first so that equal lengths
/// meet. `shares` says whether a common prefix may go through once.
pub fn plan(samples: &[Sample], tokens: usize, shares: bool) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&index| samples[index].last_answer());
    let prefix = if shares { common_prefix(samples) } else { 0 };
    let mut batches = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    let mut size = prefix;
    for index in order {
        let length = samples[index].last_answer() - prefix;
        if !current.is_empty() && size + length > tokens {
            batches.push(Batch::new(samples, &current, prefix));
            current.clear();
            size = prefix;
        }
        current.push(index);
        size += length;
    }
    if !current.is_empty() {
        batches.push(Batch::new(samples, &current, prefix));
    }
    batches
}

/// The number of tokens that all samples begin with, up to the first from which an answer is predicted.
fn common_prefix(samples: &[Sample]) -> usize {
    let Some((first, others)) = samples.split_first() else { return 0 };
    if others.is_empty() {
        return 0;
    }
    let shared = |sample: &Sample| first.ids.iter().zip(&sample.ids).take_while(|(a, b)| a == b).count();
    let unanswered = samples.iter().map(|sample| sample.first_answer() - 1);
    others.iter().map(shared).chain(unanswered).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ids: &[u32], scored: &[usize]) -> Sample {
        let scored = (0..ids.len()).map(|place| scored.contains(&place)).collect();
        Sample { ids: ids.into(), scored, ends: Vec::new(), line: 1, record: 0, slice: 0 }
    }

    #[test]
    fn equal_lengths_meet_and_answers_look_one_back() {
        let samples = [sample(&[1, 2, 3], &[2]), sample(&[4, 5], &[0, 1]), sample(&[6, 7, 8], &[1, 2])];
        let batches = plan(&samples, 100, true);
        let [batch] = batches.as_slice() else { panic!("one pass is enough") };
        // The last token of each sample is only predicted.
        assert_eq!(batch.ids, [4, 1, 2, 6, 7]);
        assert_eq!(
            batch.groups,
            [LengthGroup { start: 0, samples: 1, length: 1 }, LengthGroup { start: 1, samples: 2, length: 2 }]
        );
        let positions: Vec<_> = batch.answers.iter().map(|answer| (answer.position, answer.token)).collect();
        assert_eq!(positions, [(0, 5), (2, 3), (3, 7), (4, 8)]);
        assert_eq!(batch.samples, [(1, 0..1), (0, 1..2), (2, 2..4)]);
        assert_eq!(batch.answered_rows().collect::<Vec<_>>(), [0, 2, 3, 4]);
    }

    #[test]
    fn a_common_prefix_goes_through_once() {
        let samples = [sample(&[9, 8, 7, 1, 2, 5], &[4]), sample(&[9, 8, 7, 3], &[3]), sample(&[9, 8, 7, 3, 4], &[4])];
        let batches = plan(&samples, 100, true);
        let [batch] = batches.as_slice() else { panic!("one pass is enough") };
        // The third token predicts the answer of the second sample, so it is not shared; nothing is predicted from 5.
        assert_eq!((batch.prefix, batch.ids.as_slice()), (2, &[9, 8, 7, 7, 1, 7, 3][..]));
        let positions: Vec<_> = batch.positions().collect();
        assert_eq!(positions, [(0..2, 4), (2..3, 4), (2..4, 6), (2..4, 5)]);
        assert_eq!(batch.answers.iter().map(|answer| answer.position).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(plan(&samples, 100, false)[0].prefix, 0);
    }

    #[test]
    fn growing_sequences_continue_where_they_were() {
        let batch = Batch::growing([(&[4, 5, 6][..], 0), (&[7, 8][..], 1)]);
        assert_eq!(batch.ids, [4, 5, 6, 8]);
        let positions: Vec<_> = batch.positions().filter(|(range, _)| !range.is_empty()).collect();
        assert_eq!(positions, [(0..3, 3), (1..2, 2)]);
        assert_eq!(batch.answered_rows().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn passes_hold_every_sample_once_within_the_budget() {
        let samples: Vec<_> = (2..20).map(|length| sample(&vec![1; length], &[1])).collect();
        let batches = plan(&samples, 25, false);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.samples.iter().map(|(i, _)| *i)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..samples.len()).collect::<Vec<_>>());
        assert!(batches.iter().all(|batch| batch.tokens() <= 25));
    }
}
