//! What samples that had no part in a choice say of it.
//!
//! A rule that looks for a low loss, or for a boundary that just passes, takes the samples' luck into account as well. Other
//! samples have none of that luck, so that what they say of the one boundary chosen is what it is worth.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Options, Verdict, verdicts};
use crate::sweep::{Curve, Point};

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

/// Judges a choice by the curve of the base model, the chosen boundary and the whole adapter.
pub fn judge(curve: &Curve, chosen: usize, options: &Options) -> HeldOutVerdict {
    let verdicts = verdicts(curve, options);
    let (base, whole) = (&verdicts[0], &verdicts[verdicts.len() - 1]);
    let chosen = verdicts.iter().find(|verdict| verdict.boundary == chosen).unwrap_or(whole);
    let margin = options.margin * (base.loss - whole.loss).max(0.0);
    let point = |verdict: &Verdict| {
        let share = |of: fn(&Curve, &Point) -> f64| curve.point(verdict.boundary).map_or(0.0, |point| of(curve, point));
        HeldOutPoint {
            boundary: verdict.boundary,
            loss: verdict.loss,
            token_accuracy: share(Curve::token_accuracy),
            exact_match: share(Curve::exact_match),
        }
    };
    HeldOutVerdict {
        base: point(base),
        whole: point(whole),
        chosen: point(chosen),
        gain_kept: chosen.gain_kept,
        difference: chosen.difference,
        difference_at_most: chosen.difference_at_most,
        margin,
        within_margin: chosen.difference <= margin,
        confirmed: chosen.difference_at_most.is_some_and(|most| most <= margin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(chosen: [f64; 4]) -> HeldOutVerdict {
        let points = [(0, [3.0; 4]), (2, chosen), (5, [1.0; 4])];
        let points = points.map(|(boundary, losses)| Point { boundary, per_sample: losses.into(), ..Point::default() });
        let curve = Curve { points: points.into(), answers: vec![1; 4], work: Default::default() };
        judge(&curve, 2, &Options::default())
    }

    #[test]
    fn proof_is_more_than_being_within_the_margin() {
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
        let points = [(0, [3.0, 4.0]), (5, [1.0, 2.0])];
        let points = points.map(|(boundary, losses)| Point { boundary, per_sample: losses.into(), ..Point::default() });
        let curve = Curve { points: points.into(), answers: vec![3, 4], work: Default::default() };
        let whole = judge(&curve, 5, &Options::default());
        assert!(whole.confirmed && whole.chosen == whole.whole && whole.gain_kept == Some(1.0));
    }
}
