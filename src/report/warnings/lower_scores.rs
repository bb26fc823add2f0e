//! `lower-scores`: the scores of generated answers surely fall.

use super::Finding;
use crate::report::Report;
use crate::report::metrics::{MetricScore, TaskMetrics};

/// A score that falls with confidence, and by at least this many points, is worth a warning.
const WORTH_A_WARNING: f64 = 2.0;

pub fn find(report: &Report) -> Vec<Finding> {
    report.metrics.as_ref().and_then(finding).into_iter().collect()
}

fn finding(metrics: &TaskMetrics) -> Option<Finding> {
    let (chosen, whole) = (metrics.written()?, metrics.boundaries.last()?);
    let falls = |score: &&MetricScore| {
        let sure = score.to_whole.difference_at_most.is_some_and(|most| most < 0.0);
        sure && -score.to_whole.difference >= WORTH_A_WARNING
    };
    let before = |score: &MetricScore| score.score - score.to_whole.difference;
    let fallen: Vec<&MetricScore> = chosen.scores.iter().filter(falls).collect();
    let describe =
        |score: &&MetricScore| format!("{} {:.1} instead of {:.1}", score.metric.name(), score.score, before(score));
    (!fallen.is_empty()).then(|| {
        let sentence = format!(
            "generated answers are worse at boundary {} than at {}, the whole adapter: {}",
            chosen.name(),
            whole.name(),
            fallen.iter().map(describe).collect::<Vec<_>>().join(", ")
        );
        fallen.iter().fold(Finding::new(sentence), |finding, score| {
            let name = score.metric.name();
            finding.with(name, score.score).with(&format!("{name}_whole"), before(score))
        })
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
            stopped_by_text: None,
        };
        let boundaries =
            vec![scores(0, -40.0, -30.0), scores(19, -22.1, -17.7), scores(24, -9.0, 0.5), scores(30, 0.0, 0.0)];
        let (on, samples, max_new_tokens, confidence) = (SampleSet::HeldOut, 200, 128, 0.95);
        let mut metrics =
            TaskMetrics { on, samples, max_new_tokens, confidence, boundaries, stop: Vec::new(), examples: Vec::new() };
        let mut of = |written: usize| {
            metrics.boundaries.iter_mut().for_each(|scores| scores.written = scores.boundary == written);
            finding(&metrics)
        };
        let found = of(19).unwrap_or_else(|| Finding::new(""));
        assert!(
            found.sentence.contains("boundary 19") && found.sentence.contains("f1 21.9 instead of 44.0"),
            "{found:?}"
        );
        assert_eq!(of(24), None, "that may be luck");
        assert_eq!(of(30), None);
    }
}
