//! Checks a choice on samples that had no part in it.
//!
//! A rule that looks for a low loss, or for a boundary that just passes, also selects for luck on its samples. Held-out samples
//! had no part in that luck, so that their loss of the chosen boundary is unbiased.

use schemars::JsonSchema;
use serde::Serialize;

use super::{AssessedBoundary, ChoiceOptions, Criterion, Reference};
use crate::measure::Measurement;

/// Which samples figures were measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SampleSet {
    /// Samples that had no part in the choice.
    HeldOut,
    /// The samples that chose the boundary: none were held out.
    Choosing,
}

/// The chosen boundary against the base model and the whole adapter, on held-out samples.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeldOutVerdict {
    pub base: AssessedBoundary,
    pub whole: AssessedBoundary,
    pub chosen: AssessedBoundary,
    /// The chosen boundary's share of the adapter's gain; absent where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss(chosen) − loss(whole), in nats per answer token.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// The margin in nats per answer token: a share of the adapter's gain on these samples.
    pub margin: f64,
    /// As `margin`, of the probability of an answer token; absent with `--loss-only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_margin: Option<f64>,
    /// Whether `difference` is at most the margin, and the probability that is given up at most its own.
    pub within_margin: bool,
    /// Whether the upper bounds of both are: the samples prove what `smallest` promises.
    pub confirmed: bool,
}

impl HeldOutVerdict {
    /// Whether the probability of the true tokens alone keeps the samples from confirming the choice.
    pub fn fails_by_guard(&self) -> bool {
        !self.confirmed && self.chosen.assessment.is_surely_within(self.margin)
    }
}

/// Compares `chosen`, a boundary and its measurement, with the whole adapter, whose boundary is `whole`.
pub fn judge(
    chosen: (usize, &Measurement),
    whole: usize,
    reference: &Reference,
    options: &ChoiceOptions,
) -> HeldOutVerdict {
    let assess = |boundary, measured| AssessedBoundary { boundary, assessment: reference.assess(measured) };
    let measured = chosen.1;
    let (chosen, margin) = (assess(chosen.0, measured), reference.margin(Criterion::Loss, options.margin));
    let assessment = chosen.assessment;
    let guard_margin = options.guard.map(|guard| reference.margin(guard, options.margin));
    let lost = |guard: Criterion| guard.mean(measured) - guard.mean(reference.whole);
    let is_within = options.guard.zip(guard_margin).is_none_or(|(guard, margin)| lost(guard) <= margin);
    let holds = options.guard.is_none_or(|guard| reference.holds(guard, measured, options.margin));
    HeldOutVerdict {
        base: assess(0, reference.base),
        whole: assess(whole, reference.whole),
        chosen,
        gain_kept: assessment.gain_kept,
        difference: assessment.difference,
        difference_at_most: assessment.difference_at_most,
        margin,
        guard_margin,
        within_margin: assessment.difference <= margin && is_within,
        confirmed: assessment.is_surely_within(margin) && holds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(base: &[f64], chosen: &[f64], whole: &[f64], boundaries: [usize; 2]) -> HeldOutVerdict {
        let [base, chosen, whole] =
            [base, chosen, whole].map(|losses| Measurement::of_losses(losses, &vec![1; losses.len()]));
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        judge((boundaries[0], &chosen), boundaries[1], &reference, &ChoiceOptions::default())
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
    fn a_lower_loss_with_less_likely_tokens_is_not_confirmed() {
        let [base, chosen, whole] = [(3.0, 0.1), (0.9, 0.4), (1.0, 0.6)].map(|(loss, probability)| {
            let mut measured = Measurement::of_losses(&[loss; 4], &[1; 4]);
            measured.scores.iter_mut().for_each(|score| score.probability = probability);
            measured
        });
        let reference = Reference { base: &base, whole: &whole, confidence: 0.95 };
        let guarded = judge((2, &chosen), 5, &reference, &ChoiceOptions::default());
        assert!(!guarded.within_margin && !guarded.confirmed && guarded.fails_by_guard());
        let loss_only = ChoiceOptions { guard: None, ..ChoiceOptions::default() };
        assert!(judge((2, &chosen), 5, &reference, &loss_only).confirmed);
    }

    #[test]
    fn the_whole_adapter_is_as_good_as_itself() {
        let whole = verdict(&[3.0, 4.0], &[1.0, 2.0], &[1.0, 2.0], [5, 5]);
        assert!(whole.confirmed && whole.chosen == whole.whole && whole.gain_kept == Some(1.0));
        assert_eq!(verdict(&[1.0, 2.0], &[1.0, 2.0], &[1.0, 2.0], [5, 5]).gain_kept, None);
    }
}
