//! Checks a choice on samples that had no part in it.
//!
//! A rule that looks for a low loss, or for a boundary that just passes, also selects for luck on its samples. Held-out samples
//! had no part in that luck, so that their loss of the chosen boundary is unbiased.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AssessedBoundary, ChoiceOptions, Comparison, Criterion, Reference};
use crate::measure::Measurement;
use crate::metrics::{Difference, Score};

/// Which samples figures were measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The measure of the chosen boundary less that of the whole adapter, per answer token: of the loss, in nats, unless `--by`
    /// names another measure.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
    /// The margin of the measure, per answer token: a share of the adapter's gain on these samples.
    pub margin: f64,
    /// As `margin`, of the probability of an answer token; absent with `--loss-only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_margin: Option<f64>,
    /// The score of generated answers that the choice was made by; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<HeldOutScore>,
    /// Whether what is given up is at most the margin, by the measure, the guard and the score.
    pub within_margin: bool,
    /// Whether the bounds of all of them are: the samples prove what `smallest` promises.
    pub confirmed: bool,
    /// Whether the upper bound of the measure is within its margin.
    #[serde(skip)]
    measure_holds: bool,
}

/// The score of generated answers on held-out samples, compared with the whole adapter's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct HeldOutScore {
    pub name: Score,
    #[serde(flatten)]
    pub to_whole: Difference,
    /// A share of what the whole adapter scores above the base model.
    pub margin: f64,
}

impl HeldOutScore {
    /// Whether the score is lower by no more than the margin.
    pub fn is_within(&self) -> bool {
        self.to_whole.difference >= -self.margin
    }

    /// Whether its bound is.
    pub fn holds(&self) -> bool {
        self.to_whole.difference_at_least.is_some_and(|least| least >= -self.margin)
    }
}

impl HeldOutVerdict {
    /// Also judges the score that the choice was made by.
    pub fn with_score(self, score: HeldOutScore) -> Self {
        Self {
            within_margin: self.within_margin && score.is_within(),
            confirmed: self.confirmed && score.holds(),
            score: Some(score),
            ..self
        }
    }

    /// Whether the guard alone keeps the samples from confirming the choice.
    pub fn fails_by_guard(&self) -> bool {
        !self.confirmed && self.measure_holds && self.score.is_none_or(|score| score.holds())
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
    let chosen = assess(chosen.0, measured);
    let compared = Comparison::new(options.measure, measured, reference.whole, reference.confidence);
    let margin = |criterion: Criterion| reference.margin(criterion, options.margin);
    let is_within = |one: Criterion| one.mean(measured) - one.mean(reference.whole) <= margin(one);
    let holds = |one: Criterion| reference.holds(one, measured, options.margin);
    let measure_holds = holds(options.measure);
    HeldOutVerdict {
        base: assess(0, reference.base),
        whole: assess(whole, reference.whole),
        chosen,
        gain_kept: chosen.assessment.gain_kept,
        difference: compared.difference,
        difference_at_most: compared.at_most,
        margin: margin(options.measure),
        guard_margin: options.guard.map(margin),
        within_margin: is_within(options.measure) && options.guard.is_none_or(is_within),
        confirmed: measure_holds && options.guard.is_none_or(holds),
        score: None,
        measure_holds,
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
