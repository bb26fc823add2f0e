//! `score-gains-nothing`: the whole adapter's answers score no higher than the base model's, by the score that was to choose.

use super::Finding;
use crate::metrics::Score;
use crate::report::Report;
use crate::report::metrics::BoundaryScores;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let score = report.options.as_ref()?.score?;
    let metrics = report.choosing_metrics.as_ref().or(report.metrics.as_ref())?;
    let of = |row: &BoundaryScores| row.scores.iter().find(|one| one.metric == score).map(|one| one.score);
    let (base, whole) = (of(metrics.boundaries.first()?)?, of(metrics.boundaries.last()?)?);
    (whole <= base).then(|| {
        let hint = if score == Score::Scorer { "are its numbers the higher the better" } else { "do the samples fit its task" };
        let name = score.name();
        let sentence =
            format!("the whole adapter's answers score no higher than the base model's in {name}, {whole:.1} and {base:.1}; {hint}?");
        Finding::new(sentence).with("score_base", base).with("score_whole", whole)
    })
}
