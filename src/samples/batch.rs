//! Laying samples out for the model: how many go through in one pass, and in which order.

use std::ops::Range;

use super::Sample;

/// The samples of one pass, without padding: their tokens follow one another, equal lengths side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The tokens of all samples.
    pub ids: Vec<u32>,
    pub groups: Vec<Group>,
    /// The answer tokens, sample by sample.
    pub answers: Vec<Answer>,
    /// Which samples these are, in the order of the batch, and their places in `answers`.
    pub samples: Vec<(usize, Range<usize>)>,
}

/// Samples of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The first row of the group in the batch.
    pub start: usize,
    pub samples: usize,
    pub length: usize,
}

impl Group {
    pub fn tokens(&self) -> usize {
        self.samples * self.length
    }
}

/// A token that is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The row of the batch from which the token is predicted: the one before its own.
    pub position: usize,
    pub token: u32,
}

impl Batch {
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    fn new(samples: &[Sample], order: &[usize]) -> Self {
        let mut batch = Batch { ids: Vec::new(), groups: Vec::new(), answers: Vec::new(), samples: Vec::new() };
        for &index in order {
            let sample = &samples[index];
            let (start, length) = (batch.ids.len(), sample.ids.len());
            match batch.groups.last_mut() {
                Some(group) if group.length == length => group.samples += 1,
                _ => batch.groups.push(Group { start, samples: 1, length }),
            }
            let first_answer = batch.answers.len();
            let scored = (1..length).filter(|&place| sample.scored[place]);
            batch.answers.extend(scored.map(|place| Answer { position: start + place - 1, token: sample.ids[place] }));
            batch.samples.push((index, first_answer..batch.answers.len()));
            batch.ids.extend(&sample.ids);
        }
        batch
    }
}

/// Divides samples into passes of at most `tokens` tokens each (one sample at least), shortest first so that equal
/// lengths meet.
pub fn plan(samples: &[Sample], tokens: usize) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&index| samples[index].ids.len());
    let mut batches = Vec::new();
    let mut current = Vec::new();
    let mut size = 0;
    for index in order {
        let length = samples[index].ids.len();
        if !current.is_empty() && size + length > tokens {
            batches.push(Batch::new(samples, &current));
            current.clear();
            size = 0;
        }
        current.push(index);
        size += length;
    }
    if !current.is_empty() {
        batches.push(Batch::new(samples, &current));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ids: &[u32], scored: &[usize]) -> Sample {
        Sample { ids: ids.into(), scored: (0..ids.len()).map(|place| scored.contains(&place)).collect(), line: 1 }
    }

    #[test]
    fn equal_lengths_meet_and_answers_look_one_back() {
        let samples = [sample(&[1, 2, 3], &[2]), sample(&[4, 5], &[0, 1]), sample(&[6, 7, 8], &[1, 2])];
        let batches = plan(&samples, 100);
        let [batch] = batches.as_slice() else { panic!("one pass is enough") };
        assert_eq!(batch.ids, [4, 5, 1, 2, 3, 6, 7, 8]);
        assert_eq!(
            batch.groups,
            [Group { start: 0, samples: 1, length: 2 }, Group { start: 2, samples: 2, length: 3 }]
        );
        let positions: Vec<_> = batch.answers.iter().map(|answer| (answer.position, answer.token)).collect();
        assert_eq!(positions, [(0, 5), (3, 3), (5, 7), (6, 8)]);
        assert_eq!(batch.samples, [(1, 0..1), (0, 1..2), (2, 2..4)]);
    }

    #[test]
    fn passes_hold_every_sample_once_within_the_budget() {
        let samples: Vec<_> = (2..20).map(|length| sample(&vec![1; length], &[1])).collect();
        let batches = plan(&samples, 25);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.samples.iter().map(|(i, _)| *i)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..samples.len()).collect::<Vec<_>>());
        assert!(batches.iter().all(|batch| batch.tokens() <= 25));
    }
}
