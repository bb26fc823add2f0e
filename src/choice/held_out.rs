//! What samples that had no part in a choice say of it.
//!
//! A rule that looks for a low loss, or for a boundary that just passes, takes the samples' luck into account as well. Other
//! samples have none of that luck, so that what they say of the one boundary chosen is what it is worth.

use schemars::JsonSchema;
use serde::Serialize;

use super::ChoiceOptions;
use super::compare::{Comparison, exact_match, gain_kept, mean, token_accuracy};
use crate::measure::Scores;

/// A boundary on held-out samples.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeldOutPoint {
    pub boundary: usize,
    /// Nats per answer token.
    pub loss: f64,
    /// The share of answer tokens that no other word is likelier than, given all tokens before.
    pub token_accuracy: f64,
    /// The share of samples all of whose answer tokens are so.
    pub exact_match: f64,
}

/// The chosen boundary against the base model and the whole adapter, on held-out samples.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeldOutVerdict {
    pub base: HeldOutPoint,
    pub whole: HeldOutPoint,
    pub chosen: HeldOutPoint,
    /// The chosen boundary's share of the adapter's gain; absent where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss(chosen) − loss(whole), in nats per answer token.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// The margin in nats per answer token: a share of the adapter's gain on these samples.
    pub margin: f64,
    /// Whether `difference` is at most the margin.
    pub within_margin: bool,
    /// Whether `difference_at_most` is: the samples prove what `smallest` promises.
    pub confirmed: bool,
}

/// What there is to judge: each with its boundary.
pub struct Judged<'a> {
    pub base: &'a Scores,
    pub chosen: (usize, &'a Scores),
    pub whole: (usize, &'a Scores),
}

/// Judges what was chosen on samples that have so many `answers`.
pub fn judge(judged: &Judged, answers: &[usize], options: &ChoiceOptions) -> HeldOutVerdict {
    let point = |(boundary, scores): (usize, &Scores)| HeldOutPoint {
        boundary,
        loss: mean(&scores.per_sample, answers),
        token_accuracy: token_accuracy(&scores.right, answers),
        exact_match: exact_match(&scores.right, answers),
    };
    let (base, chosen, whole) = (point((0, judged.base)), point(judged.chosen), point(judged.whole));
    let compared =
        Comparison::new(&judged.chosen.1.per_sample, &judged.whole.1.per_sample, answers, options.confidence);
    let margin = options.margin_between(base.loss, whole.loss);
    HeldOutVerdict {
        gain_kept: gain_kept(chosen.loss, base.loss, whole.loss),
        base,
        whole,
        chosen,
        difference: compared.difference,
        difference_at_most: compared.at_most,
        margin,
        within_margin: compared.difference <= margin,
        confirmed: compared.at_most.is_some_and(|most| most <= margin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(base: &[f64], chosen: &[f64], whole: &[f64], boundaries: [usize; 2]) -> HeldOutVerdict {
        let scores =
            [base, chosen, whole].map(|losses| Scores { per_sample: losses.into(), right: vec![0; losses.len()] });
        let [base, chosen, whole] = &scores;
        let judged = Judged { base, chosen: (boundaries[0], chosen), whole: (boundaries[1], whole) };
        judge(&judged, &vec![1; base.per_sample.len()], &ChoiceOptions::default())
    }

    #[test]
    fn proof_is_more_than_being_within_the_margin() {
        let judged = |chosen: [f64; 4]| verdict(&[3.0; 4], &chosen, &[1.0; 4], [2, 5]);
        // The margin is 2 % of a gain of 2.
        let sure = judged([1.01, 1.02, 1.01, 1.02]);
        assert!((sure.margin - 0.04).abs() < 1e-12 && sure.within_margin && sure.confirmed);
        let unsure = judged([0.8, 1.2, 0.8, 1.2]);
        assert!(unsure.within_margin && !unsure.confirmed);
        let worse = judged([1.1; 4]);
        assert!(!worse.within_margin && !worse.confirmed);
        assert!((worse.gain_kept.unwrap() - 0.95).abs() < 1e-12);
    }

    #[test]
    fn the_whole_adapter_is_as_good_as_itself() {
        let whole = verdict(&[3.0, 4.0], &[1.0, 2.0], &[1.0, 2.0], [5, 5]);
        assert!(whole.confirmed && whole.chosen == whole.whole && whole.gain_kept == Some(1.0));
        assert_eq!(verdict(&[1.0, 2.0], &[1.0, 2.0], &[1.0, 2.0], [5, 5]).gain_kept, None);
    }
}
