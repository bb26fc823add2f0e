//! The samples that a choice changes most: figures say how much changes, these show what.

use schemars::JsonSchema;
use serde::Serialize;

use crate::samples::excerpt::Excerpt;

/// How many samples a report shows at most, for worse ones and for better ones each.
const MOST: usize = 5;

/// A sample whose loss differs between the whole adapter and the chosen boundary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedSample {
    /// The line (or, in a JSON array, the place) in the file, counted from 1.
    pub line: usize,
    pub answer_tokens: usize,
    /// With the whole adapter, in nats per answer token of this sample.
    pub whole: f64,
    /// At the chosen boundary.
    pub chosen: f64,
    /// chosen − whole: above 0 the sample became worse.
    pub difference: f64,
    /// The end of the prompt; absent without `--report`, in the report of an adapter folder, and for tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The beginning of the answer; absent like `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What a report needs of a sample.
#[derive(Debug, Clone)]
pub struct Scored {
    pub line: usize,
    pub answer_tokens: usize,
    pub excerpt: Option<Excerpt>,
}

/// The samples that became worse most, the worst first, then those that became better, the best last. `whole` and
/// `chosen` are their summed losses.
pub fn most_changed(samples: &[Scored], whole: &[f64], chosen: &[f64]) -> Vec<ChangedSample> {
    let mut changed: Vec<ChangedSample> = samples
        .iter()
        .zip(whole.iter().zip(chosen))
        .map(|(sample, (&whole, &chosen))| change_of(sample, whole, chosen))
        .filter(|sample| sample.difference != 0.0)
        .collect();
    changed.sort_by(|a, b| b.difference.total_cmp(&a.difference).then(a.line.cmp(&b.line)));
    let worse = changed.iter().take_while(|sample| sample.difference > 0.0).count();
    let better = changed.split_off(worse);
    changed.truncate(MOST);
    changed.extend(better.into_iter().rev().take(MOST).rev());
    changed
}

fn change_of(sample: &Scored, whole: f64, chosen: f64) -> ChangedSample {
    let tokens = sample.answer_tokens.max(1) as f64;
    ChangedSample {
        line: sample.line,
        answer_tokens: sample.answer_tokens,
        whole: whole / tokens,
        chosen: chosen / tokens,
        difference: (chosen - whole) / tokens,
        prompt: sample.excerpt.as_ref().and_then(|excerpt| excerpt.prompt.clone()),
        answer: sample.excerpt.as_ref().map(|excerpt| excerpt.answer.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_and_the_best_last() {
        let samples: Vec<Scored> = (1..=14).map(|line| Scored { line, answer_tokens: 2, excerpt: None }).collect();
        let chosen: Vec<f64> = (1..=14).map(|line| 10.0 + f64::from(line - 7)).collect();
        let changed = most_changed(&samples, &[10.0; 14], &chosen);
        let lines: Vec<usize> = changed.iter().map(|sample| sample.line).collect();
        assert_eq!(lines, [14, 13, 12, 11, 10, 5, 4, 3, 2, 1]);
        assert_eq!((changed[0].difference, changed[0].whole, changed[0].chosen), (3.5, 5.0, 8.5));
        assert!(most_changed(&samples, &chosen, &chosen).is_empty());
    }
}
