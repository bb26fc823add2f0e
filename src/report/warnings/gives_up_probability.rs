//! `gives-up-probability`: the user's boundary gives up more than any rule with the guard would.

use super::Finding;
use crate::choice::rules::BOUNDARY;
use crate::format::percent_text;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (options, chosen) = (report.options.as_ref()?, report.chosen.as_ref()?);
    options.guard.filter(|_| options.rule == BOUNDARY)?;
    let probability = |point: &crate::report::CurvePoint| point.assessed.assessment.token_probability;
    let gain = probability(report.curve.last()?) - probability(report.curve.first()?);
    lost(chosen.boundary(), -chosen.chosen.assessment.probability_difference, options.margin * gain.max(0.0))
}

/// What boundary gives up of the probability of an answer token, and the margin for that.
fn lost(boundary: usize, lost: f64, margin: f64) -> Option<Finding> {
    (lost > margin).then(|| {
        let sentence = format!(
            "boundary {boundary} gives up {} of the probability of a true token, where other rules allow {}: expect worse answers",
            percent_text(lost),
            percent_text(margin)
        );
        Finding::new(sentence).with("lost", lost).with("margin", margin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guard_would_not_allow_is_pointed_out() {
        let told = lost(18, 0.15, 0.008).unwrap_or_else(|| Finding::new(""));
        assert!(told.sentence.contains("boundary 18 gives up 15.0 %") && told.sentence.contains("0.8 %"), "{told:?}");
        assert_eq!(told.figures["lost"], 0.15);
        assert_eq!(lost(18, 0.15, 0.2), None);
    }
}
