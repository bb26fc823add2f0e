//! `unused-stop`: no answer holds a text of `--stop`.

use super::Finding;
use crate::format::plural;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    let metrics = [&report.choosing_metrics, &report.metrics].into_iter().flatten();
    let rows = metrics.flat_map(|metrics| metrics.boundaries.iter().map(|row| (row.stopped_by_text, metrics.samples)));
    let counts: Option<Vec<(usize, usize)>> = rows.map(|(stopped, samples)| Some((stopped?, samples))).collect();
    finding(&counts.unwrap_or_default()).into_iter().collect()
}

/// From what `--stop` ended, and how many answers there were, for each boundary.
fn finding(counts: &[(usize, usize)]) -> Option<Finding> {
    let answers: usize = counts.iter().map(|(_, answers)| answers).sum();
    let is_unused = answers > 0 && counts.iter().all(|(stopped, _)| *stopped == 0);
    is_unused.then(|| {
        let sentence =
            format!("none of {} holds a text of `--stop`; is it the one of your server?", plural(answers, "answer"));
        Finding::new(sentence).with("answers", answers as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_never_occurs_is_pointed_out() {
        let told = finding(&[(0, 8), (0, 8)]).unwrap_or_else(|| Finding::new(""));
        assert!(told.sentence.starts_with("none of 16 answers"), "{told:?}");
        assert_eq!((finding(&[(0, 8), (1, 8)]), finding(&[])), (None, None));
    }
}
