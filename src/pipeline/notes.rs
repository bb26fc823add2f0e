//! What the user should know before trusting a result.

use super::Evaluation;
use crate::choice::rules::Outcome;
use crate::choice::{Assessment, reference};
use crate::format::percent_text;
use crate::report::Written;
use crate::report::metrics::{MetricScore, TaskMetrics};
use crate::report::text::alternatives::finding;

/// One sentence each, without an end.
pub fn notes(evaluation: &Evaluation) -> Vec<String> {
    let (curve, report, rule) = (&evaluation.curve, &evaluation.report, evaluation.choice.rule);
    let mut notes = report.remarks.clone();
    let chosen = report.curve.iter().find(|point| point.boundary() == evaluation.choice.boundary());
    if let (Some(chosen), Some(options)) = (chosen, &report.options) {
        let margin = |criterion| reference(curve, options.confidence).margin(criterion, options.margin);
        let outcome = Outcome {
            chosen: &chosen.assessed,
            margin: margin(options.measure),
            guard_margin: options.guard.map(margin),
            samples: curve.sizes().len(),
        };
        notes.extend(rule.warning(&outcome));
    }
    if curve.base().measurement.loss() <= curve.whole().measurement.loss() {
        notes.push(
            "the whole adapter is no better than the base model on these samples; do they fit its task and format (`--chat`)?"
                .into(),
        );
    }
    let written = report.written_on_choosing();
    notes.extend(written.and_then(|written| fewer_correct(&written)));
    notes.extend(written.and_then(|written| runs_on(&written)));
    notes.extend(finding(&report.alternatives));
    notes.extend(report.metrics.as_ref().and_then(lower_scores));
    notes
}

/// A score that falls with confidence, and by at least this many points, is worth a warning.
const WORTH_A_WARNING: f64 = 2.0;

/// The scores of generated answers that fall with confidence.
fn lower_scores(metrics: &TaskMetrics) -> Option<String> {
    let (chosen, whole) = (metrics.written()?, metrics.boundaries.last()?);
    let falls = |score: &&MetricScore| {
        let sure = score.to_whole.difference_at_most.is_some_and(|most| most < 0.0);
        sure && -score.to_whole.difference >= WORTH_A_WARNING
    };
    let describe = |score: &MetricScore| {
        let before = score.score - score.to_whole.difference;
        format!("{} {:.1} instead of {before:.1}", score.metric.name(), score.score)
    };
    let fallen: Vec<String> = chosen.scores.iter().filter(falls).map(describe).collect();
    (!fallen.is_empty()).then(|| {
        let (chosen, whole) = (chosen.name(), whole.name());
        format!(
            "generated answers are worse at boundary {chosen} than at {whole}, the whole adapter: {}",
            fallen.join(", ")
        )
    })
}

/// A fall in correct tokens or answers by less than this share of all is not worth a warning.
const WORTH_A_WORD: f64 = 0.02;

/// Overfitted adapters may have a lower loss and fewer correct answers after the cut: their upper layers make them overconfident,
/// but not wrong.
fn fewer_correct(written: &Written) -> Option<String> {
    let falls = |of: fn(&Assessment) -> f64| of(&written.whole) - of(&written.assessment) > WORTH_A_WORD;
    (falls(|one| one.token_accuracy) || falls(|one| one.exact_match)).then(|| {
        format!(
            "the loss does not tell all: {} of the tokens and {} of the answers of what is chosen are correct, and {} and {} of \
             the whole adapter's",
            percent_text(written.assessment.token_accuracy),
            percent_text(written.assessment.exact_match),
            percent_text(written.whole.token_accuracy),
            percent_text(written.whole.exact_match)
        )
    })
}

/// A fall in correct ends by less than this share of all is not worth a warning.
const WORTH_STOPPING: f64 = 0.05;

/// The upper layers hold much of what an adapter has learnt about where to stop.
fn runs_on(written: &Written) -> Option<String> {
    let (now, whole) = written.assessment.end_accuracy.zip(written.whole.end_accuracy)?;
    (whole - now > WORTH_STOPPING).then(|| {
        format!(
            "answers may run on: {} of the tokens that end an answer are correct, and {} with the whole adapter",
            percent_text(now),
            percent_text(whole)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::held_out::SampleSet;
    use crate::metrics::{Difference, Metric, Score};
    use crate::report::metrics::BoundaryScores;

    #[test]
    fn answers_that_are_surely_worse_are_pointed_out() {
        let scores = |boundary, difference: f64, most| BoundaryScores {
            boundary,
            written: false,
            name: None,
            scores: vec![MetricScore {
                metric: Score::Metric(Metric::F1),
                score: 44.0 + difference,
                per_sample: Vec::new(),
                to_whole: Difference { difference, difference_at_least: Some(-30.0), difference_at_most: Some(most) },
            }],
            answers: Vec::new(),
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

    #[test]
    fn answers_that_do_not_end_are_pointed_out() {
        let note = |now: Option<f64>| {
            let of = |end_accuracy| Assessment { end_accuracy, ..Assessment::default() };
            runs_on(&Written { on: SampleSet::Choosing, assessment: of(now), whole: of(Some(0.84)) })
        };
        let told = note(Some(0.14)).unwrap_or_default();
        assert!(told.contains("14.0 %") && told.contains("84.0 %"), "{told}");
        assert_eq!((note(Some(0.8)), note(None)), (None, None));
    }

    #[test]
    fn correct_answers_that_are_lost_are_pointed_out() {
        let assessment =
            |token_accuracy, exact_match| Assessment { token_accuracy, exact_match, ..Assessment::default() };
        let whole = assessment(0.71, 0.365);
        let note = |token_accuracy, exact_match| {
            let assessment = assessment(token_accuracy, exact_match);
            fewer_correct(&Written { on: SampleSet::Choosing, assessment, whole })
        };
        assert_eq!(note(0.705, 0.36), None);
        assert_eq!(note(0.8, 0.4), None);
        let lost = note(0.71, 0.025).unwrap_or_default();
        assert!(lost.contains("2.5 %") && lost.contains("36.5 %"), "{lost}");
        assert!(note(0.6, 0.365).is_some());
    }
}
