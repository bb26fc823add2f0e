//! What is odd about samples, so that they do not count for more than they are.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Sample, TextModel, draws, near};
use crate::error::Result;

/// An answer with more scored tokens than this is not empty.
const MOST_OF_EMPTY: usize = 4;

/// What is odd about samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    /// How many independent draws there are.
    pub draws: usize,
    /// How many samples are exact copies of earlier ones.
    pub copies: usize,
    /// How many draws fewer there are because some are near duplicates of others.
    pub near_duplicates: usize,
    /// The lines of samples whose prompts are the same and whose answers are not.
    pub contradictory: Vec<usize>,
    /// The lines of samples whose answers are empty.
    pub empty: Vec<usize>,
}

/// Looks for what is odd, and gives samples that are one draw the same `record`.
pub fn check(samples: &mut [Sample], text: Option<&TextModel>) -> Result<Oddities> {
    let before = draws::of(samples).into_iter().max().map_or(0, |last| last + 1);
    draws::unite(samples);
    let draws = draws::of(samples).into_iter().max().map_or(0, |last| last + 1);
    let different: HashSet<_> = samples.iter().map(|sample| (&sample.ids, &sample.scored)).collect();
    let mut empty = Vec::new();
    for sample in &*samples {
        if is_empty(sample, text)? {
            empty.push(sample.line);
        }
    }
    Ok(Oddities {
        draws,
        copies: samples.len() - different.len(),
        near_duplicates: before - draws,
        contradictory: contradictory(samples),
        empty,
    })
}

/// The lines of samples with a prompt of which there are several answers. A prompt that most samples have is no question.
fn contradictory(samples: &[Sample]) -> Vec<usize> {
    let mut of_prompt: HashMap<&[u32], Vec<&Sample>> = HashMap::new();
    for sample in samples.iter().filter(|sample| sample.scored.first() == Some(&false)) {
        of_prompt.entry(&sample.ids[..sample.first_answer()]).or_default().push(sample);
    }
    let disagree = |same: &&Vec<&Sample>| {
        2 * same.len() <= samples.len().max(4) && same.iter().any(|sample| sample.ids != same[0].ids)
    };
    let lines: BTreeSet<usize> = of_prompt.values().filter(disagree).flatten().map(|sample| sample.line).collect();
    lines.into_iter().collect()
}

/// Whether an answer holds no text: nothing but the tokens that end it, and white space.
fn is_empty(sample: &Sample, text: Option<&TextModel>) -> Result<bool> {
    let said: Vec<u32> = (1..sample.ids.len())
        .filter(|place| sample.scored[*place] && !sample.ends.contains(place))
        .map(|place| sample.ids[place])
        .collect();
    match text {
        _ if said.is_empty() => Ok(true),
        Some(text) if said.len() <= MOST_OF_EMPTY => Ok(text.decode(&said)?.trim().is_empty()),
        _ => Ok(false),
    }
}

/// How a held-out sample is among those that choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// As it is.
    Exactly,
    /// Nearly.
    Nearly,
    Nothing,
}

/// For each of the samples `held_out`, whether those that choose have it, too.
pub fn repeated(held_out: &[Sample], choosing: &[Sample]) -> Vec<Repeats> {
    let known: HashSet<&[u32]> = choosing.iter().map(|sample| sample.ids.as_slice()).collect();
    let repeats = |sample: &Sample| if known.contains(&*sample.ids) { Repeats::Exactly } else { Repeats::Nothing };
    let mut all: Vec<Repeats> = held_out.iter().map(repeats).collect();
    let together: Vec<&Sample> = choosing.iter().chain(held_out).collect();
    near::for_each_pair(&together, |one, other| {
        if one < choosing.len()
            && let Some(held_out @ Repeats::Nothing) = other.checked_sub(choosing.len()).map(|place| &mut all[place])
        {
            *held_out = Repeats::Nearly;
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: usize, prompt: &[u32], answer: &[u32]) -> Sample {
        let ids = [prompt, answer].concat();
        let scored = (0..ids.len()).map(|place| place >= prompt.len()).collect();
        Sample { ends: vec![ids.len() - 1], ids, scored, line, record: line, slice: 0 }
    }

    #[test]
    fn copies_contradictions_and_empty_answers_are_found() {
        let mut samples = vec![
            sample(1, &[1, 10, 11], &[20, 2]),
            sample(2, &[1, 12, 13], &[21, 2]),
            sample(3, &[1, 10, 11], &[20, 2]),
            sample(4, &[1, 12, 13], &[22, 2]),
            sample(5, &[1, 14], &[2]),
            sample(6, &[1, 15, 16], &[23, 2]),
        ];
        let odd = check(&mut samples, None).unwrap();
        assert_eq!((odd.draws, odd.copies, odd.near_duplicates), (5, 1, 0));
        assert_eq!((odd.contradictory, odd.empty), (vec![2, 4], vec![5]));
        assert_eq!(samples[0].record, samples[2].record);
        let mut same_prompt: Vec<Sample> = (0..8).map(|line| sample(line, &[1, 5], &[line as u32 + 30, 2])).collect();
        assert_eq!(check(&mut same_prompt, None).unwrap().contradictory, [] as [usize; 0], "that is no question");
    }

    #[test]
    fn near_duplicates_are_one_draw_and_no_held_out_samples() {
        let long = |number: u32| (0..12).map(|token| 100 * number + token).collect::<Vec<_>>();
        let mut samples: Vec<Sample> =
            (1..33).map(|number| sample(number, &long(number as u32), &[number as u32, 2])).collect();
        let mut again = samples[3].clone();
        (again.ids[5], again.line, again.record) = (9999, 33, 33);
        samples.push(again.clone());
        let odd = check(&mut samples, None).unwrap();
        assert_eq!((odd.draws, odd.copies, odd.near_duplicates), (32, 0, 1));
        assert_eq!(samples[3].record, samples[32].record);
        let other = sample(9, &long(77), &[77, 2]);
        let held_out = [samples[7].clone(), again, other];
        assert_eq!(repeated(&held_out, &samples[..32]), [Repeats::Exactly, Repeats::Nearly, Repeats::Nothing]);
    }
}
