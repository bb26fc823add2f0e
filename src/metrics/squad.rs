//! Exact match and F1 as the official script of SQuAD 2.0 (`evaluate-v2.0.py`) computes them, for one reference.

use super::f_measure;
use super::words::{counted, in_common, split};

/// The words in lower case, without ASCII punctuation and without articles.
fn normalised(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    split(&without_articles(&plain)).map(String::from).collect()
}

/// As `re.sub(r"\b(a|an|the)\b", " ", text)` in Python, where combining marks are not parts of words.
fn without_articles(text: &str) -> String {
    let is_part = |character: &char| character.is_alphanumeric();
    let characters: Vec<char> = text.chars().collect();
    let runs = characters.chunk_by(|one, next| is_part(one) == is_part(next)).map(|run| run.iter().collect::<String>());
    runs.map(|run| if ["a", "an", "the"].contains(&run.as_str()) { " ".into() } else { run }).collect()
}

/// 1 if both texts have the same words, else 0.
pub fn exact_match(prediction: &str, reference: &str) -> f64 {
    f64::from(u8::from(normalised(prediction) == normalised(reference)))
}

/// The F-measure of the words in any order. If either text has no words, it is 1 if neither has any, else 0.
pub fn f1(prediction: &str, reference: &str) -> f64 {
    let (predicted, expected) = (normalised(prediction), normalised(reference));
    if predicted.is_empty() || expected.is_empty() {
        return f64::from(u8::from(predicted == expected));
    }
    f_measure(in_common(&counted(&predicted), &counted(&expected)), predicted.len(), expected.len())
}
