//! `suspect-samples`: the samples are fewer than they seem, contradict each other, are empty, or were possibly trained on.

use super::Finding;
use crate::format::plural;
use crate::report::{Report, SamplesInput};

/// Fewer repeated samples, or samples with a loss near zero, than this share are what clean data has, too.
const WORTH_A_WORD: f64 = 0.05;

/// The most lines that are named.
const MOST_LINES: usize = 5;

pub fn find(report: &Report) -> Vec<Finding> {
    report.samples.as_ref().and_then(finding).into_iter().collect()
}

fn finding(samples: &SamplesInput) -> Option<Finding> {
    let many = |count: usize| count as f64 > WORTH_A_WORD * samples.count as f64;
    let (repeated, known) = (samples.copies + samples.near_duplicates, samples.possibly_trained_on.len());
    let clauses = [
        (many(repeated), {
            let (copies, near) = (samples.copies, plural(samples.near_duplicates, "near duplicate"));
            format!(
                "{copies} copies and {near} say nothing new, so that they count as {}",
                plural(samples.draws, "sample")
            )
        }),
        (many(known), {
            let lines = lines(&samples.possibly_trained_on);
            format!(
                "{known} were possibly trained on, because the whole adapter knows their answers by heart ({lines})"
            )
        }),
        (!samples.contradictory.is_empty(), {
            let lines = lines(&samples.contradictory);
            format!("{} share a prompt and have different answers ({lines})", samples.contradictory.len())
        }),
        (!samples.empty.is_empty(), {
            format!("{} have an empty answer ({})", samples.empty.len(), lines(&samples.empty))
        }),
    ];
    let said: Vec<String> = clauses.into_iter().filter(|(holds, _)| *holds).map(|(_, clause)| clause).collect();
    (!said.is_empty()).then(|| {
        let sentence = format!("of {}, {}", plural(samples.count, "sample"), said.join("; "));
        Finding::new(sentence)
            .with("samples", samples.count as f64)
            .with("draws", samples.draws as f64)
            .with("copies", samples.copies as f64)
            .with("near_duplicates", samples.near_duplicates as f64)
            .with("contradictory", samples.contradictory.len() as f64)
            .with("empty", samples.empty.len() as f64)
            .with("possibly_trained_on", known as f64)
    })
}

fn lines(all: &[usize]) -> String {
    let first: Vec<String> = all.iter().take(MOST_LINES).map(usize::to_string).collect();
    let more = if all.len() > MOST_LINES { " …" } else { "" };
    format!("{} {}{more}", if all.len() == 1 { "line" } else { "lines" }, first.join(", "))
}
