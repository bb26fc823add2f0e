//! ROUGE-L as Google's rouge-score computes it with its default tokenizer and without stemming.
//!
//! That tokenizer knows only a-z and 0-9: a text in another script has no words for it and scores 0.

use super::f_measure;

/// The words of lower-case ASCII letters and digits.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_ascii_lowercase() && !character.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

/// The F-measure of the longest common subsequence of words, from 0 to 1.
pub fn rouge_l(prediction: &str, reference: &str) -> f64 {
    let (predicted, expected) = (words(prediction), words(reference));
    f_measure(longest_common_subsequence(&predicted, &expected), predicted.len(), expected.len())
}

/// The length of the longest common subsequence, computed one row of the usual table at a time.
fn longest_common_subsequence(one: &[String], other: &[String]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for word in one {
        let mut before = 0;
        for (place, candidate) in other.iter().enumerate() {
            let longest = if word == candidate { before + 1 } else { row[place].max(row[place + 1]) };
            before = std::mem::replace(&mut row[place + 1], longest);
        }
    }
    row[other.len()]
}
