//! chrF2 of a corpus, as sacrebleu computes it with its defaults: `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`.

use super::words::{counted, in_common, is_space};

/// The longest n-grams of characters.
const ORDER: usize = 6;
/// The weight of recall against precision, squared.
const BETA_SQUARED: f64 = 4.0;

/// For each order the number of n-grams of predictions, of references, and of both.
pub type ChrfCounts = [f64; 3 * ORDER];

/// The counts of one pair.
pub fn counts(prediction: &str, reference: &str) -> ChrfCounts {
    let characters = |text: &str| text.chars().filter(|&character| !is_space(character)).collect::<Vec<_>>();
    let (predicted, expected) = (characters(prediction), characters(reference));
    let mut counts = [0.0; 3 * ORDER];
    for (order, counts) in (1..).zip(counts.chunks_exact_mut(3)) {
        let number = |characters: &[char]| (characters.len() + 1).saturating_sub(order) as f64;
        // If a reference is too short to have any, those of its prediction do not count.
        if number(&expected) > 0.0 {
            counts[0] = number(&predicted);
            counts[1] = number(&expected);
            counts[2] = in_common(&counted(predicted.windows(order)), &counted(expected.windows(order))) as f64;
        }
    }
    counts
}

/// chrF of summed counts, from 0 to 100: the F-measure of mean precision and mean recall, over the orders that both have.
pub fn score(counts: &[f64]) -> f64 {
    let orders: Vec<(f64, f64)> = counts
        .chunks_exact(3)
        .filter(|counts| counts[0] > 0.0 && counts[1] > 0.0)
        .map(|counts| (counts[2] / counts[0], counts[2] / counts[1]))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| orders.iter().map(of).sum::<f64>() / orders.len().max(1) as f64;
    let (precision, recall) = (mean(|order| order.0), mean(|order| order.1));
    if precision + recall == 0.0 {
        return 0.0;
    }
    100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
}
