//! Which answer tokens end an answer: the token that serving stops at.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::{Sample, TextModel};
use crate::error::{Result, SampleError};

/// The tokens at which a model stops: those that its files name, and the one that ends the tokenizer's texts.
pub fn stops(of_model: &BTreeSet<u32>, text: Option<&TextModel>) -> BTreeSet<u32> {
    of_model.iter().copied().chain(text.and_then(TextModel::eos_id)).collect()
}

/// Marks the answer tokens of `samples` that end an answer. `stops` are the tokens at which the model stops; the special token at
/// the end of an answer is one, too, since that of a chat template need not be the model's. Without `text` no token is known to be
/// special.
pub fn mark(samples: &mut [Sample], stops: &BTreeSet<u32>, text: Option<&TextModel>) -> Result<()> {
    for sample in samples {
        let mut ends = BTreeSet::new();
        for answer in answers(&sample.scored) {
            ends.extend(answer.clone().filter(|&place| stops.contains(&sample.ids[place])));
            if let Some(text) = text {
                ends.extend(own_end(&sample.ids[answer.clone()], text)?.map(|place| answer.start + place));
            }
        }
        // The first token is never predicted.
        sample.ends = ends.into_iter().filter(|&place| place > 0).collect();
    }
    Ok(())
}

/// Takes the tokens that end answers, and white space behind them, out of what is scored: for a model that is served with texts
/// that stop it.
pub fn ignore(samples: &mut [Sample], path: &Path) -> Result<()> {
    for sample in samples {
        let ends = std::mem::take(&mut sample.ends);
        for answer in answers(&sample.scored) {
            let Some(&last) = ends.iter().rfind(|place| answer.contains(place)) else { continue };
            (last..answer.end).for_each(|place| sample.scored[place] = false);
        }
        ends.iter().for_each(|&place| sample.scored[place] = false);
        if sample.answers() == 0 {
            return Err(SampleError::NoAnswer { path: path.into(), line: sample.line }.into());
        }
    }
    Ok(())
}

/// The place of the special token that ends an answer, if there is one. White space may follow it.
pub(super) fn own_end(answer: &[u32], text: &TextModel) -> Result<Option<usize>> {
    let Some(place) = answer.iter().rposition(|&id| text.is_special(id)) else { return Ok(None) };
    let rest = text.decode(&answer[place + 1..])?;
    Ok(rest.trim().is_empty().then_some(place))
}

/// The runs of scored tokens.
fn answers(scored: &[bool]) -> Vec<Range<usize>> {
    let mut start = 0;
    let runs = scored.chunk_by(|one, other| one == other).map(|run| {
        start += run.len();
        start - run.len()..start
    });
    runs.filter(|run| scored[run.start]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_ends_where_they_are_scored() {
        let scored = [true, false, true, true, false, true];
        assert_eq!(answers(&scored), [0..1, 2..4, 5..6]);
        let mut samples = [Sample {
            ids: vec![9, 9, 3, 9, 9, 9],
            scored: scored.into(),
            ends: Vec::new(),
            line: 1,
            record: 0,
            slice: 0,
        }];
        mark(&mut samples, &BTreeSet::from([9]), None).unwrap();
        assert_eq!(samples[0].ends, [3, 5]);
        ignore(&mut samples, Path::new("s.jsonl")).unwrap();
        assert_eq!(samples[0].scored, [true, false, true, false, false, false]);
        samples[0].scored = vec![false, false, false, false, false, true];
        samples[0].ends = vec![5];
        assert!(ignore(&mut samples, Path::new("s.jsonl")).is_err(), "nothing but an end is scored");
    }
}
