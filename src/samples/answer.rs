//! The last answer of a sample as a task for generation: its prompt, its end, and its reference.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::ends::own_end;
use super::{Sample, TextModel};
use crate::error::{MetricError, Result};

/// What an answer is generated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// At least one token.
    pub ids: Vec<u32>,
    /// The tokens that end the answer.
    pub stops: BTreeSet<u32>,
}

/// A prompt with the text that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationTask {
    /// The line, or the place, of the sample in its file.
    pub line: usize,
    pub prompt: Prompt,
    pub reference: String,
}

impl GenerationTask {
    /// Makes a task of the last answer of a sample, whose prompt is all tokens before it. `stops` are the tokens that end
    /// answers of the model; the answer's own end is added to them.
    ///
    /// The reference is decoded from tokens, as the prediction is, so that both have gone through the same tokenizer.
    pub fn new(sample: &Sample, text: &TextModel, stops: &BTreeSet<u32>, path: &Path) -> Result<Self> {
        let answer = last_answer(sample);
        if answer.start == 0 {
            return Err(MetricError::NoPrompt { path: path.into(), line: sample.line }.into());
        }
        let (before, answer) = (&sample.ids[..answer.start], &sample.ids[answer]);
        let mut stops = stops.clone();
        stops.extend(own_end(answer, text)?.map(|place| answer[place]));
        let reference = text.decode(until_stop(answer, &stops))?;
        Ok(Self { line: sample.line, prompt: Prompt { ids: before.into(), stops }, reference })
    }

    /// The text of generated tokens.
    pub fn text_of(&self, ids: &[u32], text: &TextModel) -> Result<String> {
        text.decode(until_stop(ids, &self.prompt.stops))
    }
}

/// The last run of scored tokens. It starts at 0 if all tokens before its end are scored.
fn last_answer(sample: &Sample) -> Range<usize> {
    let end = sample.scored.iter().rposition(|&scored| scored).map_or(0, |last| last + 1);
    let start = sample.scored[..end].iter().rposition(|&scored| !scored).map_or(0, |before| before + 1);
    start..end
}

fn until_stop<'a>(ids: &'a [u32], stops: &BTreeSet<u32>) -> &'a [u32] {
    let end = ids.iter().position(|id| stops.contains(id)).unwrap_or(ids.len());
    &ids[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(scored: &[bool]) -> Sample {
        Sample {
            ids: (0..scored.len() as u32).collect(),
            scored: scored.into(),
            ends: Vec::new(),
            line: 7,
            record: 6,
            slice: 0,
        }
    }

    #[test]
    fn the_last_answer_is_the_last_run_of_scored_tokens() {
        assert_eq!(last_answer(&sample(&[false, true, true, false, true, false])), 4..5);
        assert_eq!(last_answer(&sample(&[false, true, true])), 1..3);
        assert_eq!(last_answer(&sample(&[true, true])), 0..2);
    }

    #[test]
    fn answers_end_before_a_stop() {
        let stops = BTreeSet::from([2, 9]);
        assert_eq!(until_stop(&[1, 3, 2, 4], &stops), [1, 3]);
        assert_eq!(until_stop(&[1, 3], &stops), [1, 3]);
        assert!(until_stop(&[9], &stops).is_empty());
    }
}
