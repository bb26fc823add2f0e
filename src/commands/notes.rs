//! Notes for the user: what to know before trusting the result of an evaluation.

use crate::choice::Rule;
use crate::format::plural;
use crate::pipeline::{Evaluation, Request};
use crate::report::CurvePoint;
use crate::report::alternatives::Right;
use crate::report::metrics::{MetricScore, TaskMetrics};
use crate::report::text::alternatives::finding;

/// What the user should know before trusting the result.
pub fn notes(request: &Request, evaluation: &Evaluation) -> Vec<String> {
    let mut notes = Vec::new();
    let count = evaluation.curve.answers.len();
    if count < 16 && request.choice.rule == Rule::Smallest {
        notes.push(format!("{} can prove little; use 64 or more", plural(count, "sample")));
    }
    let curve = &evaluation.report.curve;
    if let (Some(base), Some(whole)) = (curve.first(), curve.last())
        && base.loss <= whole.loss
    {
        notes.push(
            "the whole adapter is no better than the base model on these samples; do they fit its task and format \
             (`--chat`)?"
                .into(),
        );
    }
    let right = evaluation.report.written_right();
    notes.extend(right.zip(curve.last()).and_then(|(written, whole)| fewer_correct(written, whole)));
    notes.extend(finding(&evaluation.report.alternatives));
    let chosen = curve.iter().find(|point| point.boundary == evaluation.choice.boundary);
    if request.choice.rule == Rule::Curve {
        notes.extend(
            chosen.zip(curve.first().zip(curve.last())).and_then(|(chosen, (base, whole))| {
                costly(chosen, request.choice.margin_between(base.loss, whole.loss))
            }),
        );
    }
    notes.extend(evaluation.report.metrics.as_ref().and_then(lower_scores));
    notes
}

/// Points that a score must lose, with confidence, to be worth a warning.
const WORTH_A_WARNING: f64 = 2.0;

/// Warns of scores of generated answers that the choice makes worse with confidence.
fn lower_scores(metrics: &TaskMetrics) -> Option<String> {
    let (chosen, whole) = (metrics.written()?, metrics.boundaries.last()?);
    let falls = |score: &&MetricScore| {
        let sure = score.to_whole.difference_at_most.is_some_and(|most| most < 0.0);
        sure && -score.to_whole.difference >= WORTH_A_WARNING
    };
    let fallen: Vec<String> = chosen
        .scores
        .iter()
        .filter(falls)
        .map(|score| {
            let before = score.score - score.to_whole.difference;
            format!("{} {:.1} instead of {before:.1}", score.metric.name(), score.score)
        })
        .collect();
    (!fallen.is_empty()).then(|| {
        let (chosen, whole) = (chosen.name(), whole.name());
        format!(
            "generated answers are worse at boundary {chosen} than at {whole}, the whole adapter: {}",
            fallen.join(", ")
        )
    })
}

/// Warns of a high loss after the rule `curve`, which ignores losses.
fn costly(chosen: &CurvePoint, margin: f64) -> Option<String> {
    (chosen.difference > margin).then(|| {
        format!(
            "the probability curve ignores the losses: at boundary {} the loss is {:.4} nats above the whole adapter's, \
             and `--choose smallest` allows {margin:.4}",
            chosen.boundary, chosen.difference
        )
    })
}

/// Smaller losses of correct tokens or answers, as a share of all, are not worth a warning.
const LEAST_SHARE: f64 = 0.02;

/// Warns of fewer correct answers. They come with a lower loss in overfitted adapters, whose upper layers make them
/// overconfident but not wrong. No rule looks at this, so the user should.
fn fewer_correct(written: Right, whole: &CurvePoint) -> Option<String> {
    let whole = Right::of(whole);
    let falls = |of: fn(Right) -> f64| of(whole) - of(written) > LEAST_SHARE;
    (falls(|right| right.token_accuracy) || falls(|right| right.exact_match)).then(|| {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        format!(
            "the loss is not everything: the choice gets {} of the tokens and {} of the answers right, the whole adapter {} \
             and {}",
            percent(written.token_accuracy),
            percent(written.exact_match),
            percent(whole.token_accuracy),
            percent(whole.exact_match)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Difference, Metric};
    use crate::report::metrics::{BoundaryScores, SampleSet};

    #[test]
    fn answers_that_are_surely_worse_are_pointed_out() {
        let scores = |boundary, difference: f64, most| BoundaryScores {
            boundary,
            written: false,
            name: None,
            scores: vec![MetricScore {
                metric: Metric::F1,
                score: 44.0 + difference,
                to_whole: Difference { difference, difference_at_least: Some(-30.0), difference_at_most: Some(most) },
            }],
            cut_off: 0,
        };
        let boundaries =
            vec![scores(0, -40.0, -30.0), scores(19, -22.1, -17.7), scores(24, -9.0, 0.5), scores(30, 0.0, 0.0)];
        let (on, samples, max_new_tokens, confidence) = (SampleSet::HeldOut, 200, 128, 0.95);
        let mut metrics = TaskMetrics { on, samples, max_new_tokens, confidence, boundaries, examples: Vec::new() };
        let mut of = |written: usize| {
            metrics.boundaries.iter_mut().for_each(|scores| scores.written = scores.boundary == written);
            lower_scores(&metrics)
        };
        let note = of(19).unwrap_or_default();
        assert!(note.contains("boundary 19") && note.contains("f1 21.9 instead of 44.0"), "{note}");
        assert_eq!(of(24), None, "that may be luck");
        assert_eq!(of(30), None);
    }

    fn point(boundary: usize, difference: f64) -> CurvePoint {
        CurvePoint {
            boundary,
            loss: 1.0,
            gain_kept: None,
            difference,
            difference_at_most: None,
            token_accuracy: 0.71,
            exact_match: 0.365,
            bytes: 0,
            per_sample: Vec::new(),
        }
    }

    #[test]
    fn what_the_curve_does_not_know_is_pointed_out() {
        let chosen = point(19, 0.4);
        assert!(costly(&chosen, 0.03).unwrap_or_default().contains("boundary 19 the loss is 0.4000 nats above"));
        assert_eq!(costly(&chosen, 0.4), None);
    }

    #[test]
    fn right_answers_that_are_lost_are_pointed_out() {
        let note = |token_accuracy, exact_match| fewer_correct(Right { token_accuracy, exact_match }, &point(30, 0.0));
        assert_eq!(note(0.705, 0.36), None);
        assert_eq!(note(0.8, 0.4), None);
        let lost = note(0.71, 0.025).unwrap_or_default();
        assert!(lost.contains("2.5 %") && lost.contains("36.5 %"), "{lost}");
        assert!(note(0.6, 0.365).is_some());
    }
}
