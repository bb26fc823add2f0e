//! Samples that the adapter may have been trained on: they say how well it remembers, not how well it does its task.

use crate::measure::Measurement;

/// Every token of a long answer is all but certain. Where a real adapter (eight epochs over 128 samples) was trained on the samples, two
/// thirds of them are below this; of 159 others, the lowest is at 0.055.
const NEAR_ZERO: f64 = 0.02;

/// Answers of fewer tokens than this can be sure by being easy: of 160 answers of two to five tokens that no adapter had seen, 13
/// are below 0.02 and none is below 0.003.
const SHORT: usize = 8;
const NEAR_ZERO_IF_SHORT: f64 = 0.003;

/// What the base model already knows cannot be told from what was learnt by heart, so that the adapter must have lowered the loss to a
/// tenth.
const LEAST_FALL: f64 = 10.0;

/// The samples whose loss with the whole adapter is so near to zero that they may have been trained on, as indices.
pub fn possibly_trained_on(base: &Measurement, whole: &Measurement) -> Vec<usize> {
    let is_known = |&sample: &usize| {
        let tokens = whole.sizes[sample].tokens;
        let near_zero = if tokens < SHORT { NEAR_ZERO_IF_SHORT } else { NEAR_ZERO };
        let [base, whole] = [base, whole].map(|one| one.scores[sample].loss / tokens as f64);
        whole < near_zero && base > LEAST_FALL * whole.max(near_zero / LEAST_FALL)
    };
    (0..whole.scores.len()).filter(is_known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_without_surprise_were_learnt_by_heart() {
        let tokens = [10, 10, 10, 3, 3];
        let measured = |losses: [f64; 5]| Measurement::of_losses(&losses, &tokens);
        let base = measured([40.0, 40.0, 0.15, 9.0, 9.0]);
        // The third was easy before, and the last two are short.
        let whole = measured([0.15, 0.5, 0.1, 0.015, 0.006]);
        assert_eq!(possibly_trained_on(&base, &whole), [0, 4]);
    }
}
