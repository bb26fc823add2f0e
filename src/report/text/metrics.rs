//! The scores of generated answers for the terminal.

use std::fmt::Write;

use crate::choice::held_out::SampleSet;
use crate::format::percent;
use crate::report::Report;
use crate::report::metrics::{BoundaryScores, TaskMetrics};

/// The tables of scores, each with the bounds for the chosen boundary; empty without scores.
pub fn scores(report: &Report) -> String {
    report.choosing_metrics.iter().chain(&report.metrics).map(table).collect()
}

fn table(metrics: &TaskMetrics) -> String {
    let mut text = format!("\n{}:\n{:>9}", headline(metrics), "boundary");
    let whole = metrics.boundaries.last();
    for score in whole.iter().flat_map(|whole| &whole.scores) {
        let _ = write!(text, "{:>12}", score.metric.name());
    }
    text.push('\n');
    for (place, row) in metrics.boundaries.iter().enumerate() {
        text += &line(row, place + 1 == metrics.boundaries.len());
    }
    text + &cut_off(metrics) + &bounds(metrics)
}

fn headline(metrics: &TaskMetrics) -> String {
    let (on, more) = match metrics.on {
        SampleSet::HeldOut => ("held-out sample", ""),
        SampleSet::Choosing => ("sample", " also used to choose"),
    };
    let samples = crate::format::plural(metrics.samples, on);
    format!(
        "answers to {samples}{more}, greedy, at most {} each",
        crate::format::plural(metrics.max_new_tokens, "token")
    )
}

/// Scores, each with its difference from the whole adapter's.
fn line(row: &BoundaryScores, is_whole: bool) -> String {
    let mut line = format!("{:>9}", row.name());
    for score in &row.scores {
        let difference = if is_whole { String::new() } else { format!("{:+.1}", score.to_whole.difference) };
        let _ = write!(line, " {:>5.1} {difference:>5}", score.score);
    }
    if row.written {
        line += "  ◀ chosen";
    }
    line.trim_end().to_string() + "\n"
}

fn cut_off(metrics: &TaskMetrics) -> String {
    let cut = metrics.boundaries.iter().filter(|row| row.cut_off > 0);
    let cut: Vec<String> = cut.map(|row| format!("{} at {}", row.cut_off, row.name())).collect();
    if cut.is_empty() { String::new() } else { format!("answers without an end: {}\n", cut.join(", ")) }
}

/// The bounds of the chosen boundary's differences.
fn bounds(metrics: &TaskMetrics) -> String {
    let is_whole = metrics.boundaries.last().is_some_and(|whole| whole.written);
    let Some(row) = metrics.written().filter(|_| !is_whole) else { return String::new() };
    let bounds: Vec<String> = row
        .scores
        .iter()
        .filter_map(|score| Some((score, score.to_whole.difference_at_least?, score.to_whole.difference_at_most?)))
        .map(|(score, least, most)| format!("{:>12}  {least:+.1} to {most:+.1}\n", score.metric.name()))
        .collect();
    if bounds.is_empty() {
        return String::new();
    }
    let confidence = percent(metrics.confidence);
    format!("the chosen one to the whole adapter, each bound with {confidence} % confidence:\n{}", bounds.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Difference, Metric, Score};
    use crate::report::metrics::MetricScore;

    fn metrics() -> TaskMetrics {
        let all = Metric::ALL.map(Score::Metric);
        let row = |boundary, score: f64, cut_off| {
            let difference = score - 100.0;
            let (least, most) = (Some(difference - 5.0), Some(difference + 5.0));
            let to_whole = Difference { difference, difference_at_least: least, difference_at_most: most };
            let scores = all.map(|metric| MetricScore { metric, score, per_sample: Vec::new(), to_whole }).into();
            BoundaryScores {
                boundary,
                written: boundary == 19,
                name: None,
                scores,
                answers: Vec::new(),
                cut_off,
                stopped_by_text: None,
            }
        };
        let (on, samples, max_new_tokens, confidence) = (SampleSet::HeldOut, 200, 128, 0.95);
        let boundaries = vec![row(0, 0.0, 12), row(19, 65.25, 0), row(30, 100.0, 0)];
        TaskMetrics { on, samples, max_new_tokens, confidence, boundaries, stop: Vec::new(), examples: Vec::new() }
    }

    #[test]
    fn five_metrics_fit_into_eighty_columns() {
        let metrics = metrics();
        let row = line(&metrics.boundaries[1], false);
        assert!(row.starts_with("       19  65.2 -34.8"), "{row}");
        assert!(row.ends_with("◀ chosen\n") && row.chars().count() <= 80, "{row}");
        assert!(headline(&metrics).chars().count() <= 80);
        assert!(line(&metrics.boundaries[2], true).starts_with("       30 100.0"));
    }

    #[test]
    fn bounds_and_endless_answers_are_told() {
        assert_eq!(cut_off(&metrics()), "answers without an end: 12 at 0\n");
        let told = bounds(&metrics());
        assert!(told.contains(" exact-match  -39.8 to -29.8\n"), "{told}");
        let mut whole = metrics();
        whole.boundaries.iter_mut().for_each(|row| row.written = row.boundary == 30);
        assert!(bounds(&whole).is_empty(), "there is nothing to compare");
    }
}
