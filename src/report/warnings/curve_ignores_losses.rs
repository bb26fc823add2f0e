//! `curve-ignores-losses`: the rule `curve` reads a boundary off the probabilities, and the losses speak against it.

use super::Finding;
use crate::choice::Basis;
use crate::report::Report;

pub fn find(report: &Report) -> Vec<Finding> {
    finding(report).into_iter().collect()
}

fn finding(report: &Report) -> Option<Finding> {
    let (options, chosen) = (report.options.as_ref()?, report.chosen.as_ref()?);
    let margin = options.margin * (report.curve.first()?.loss() - report.curve.last()?.loss()).max(0.0);
    let difference = chosen.chosen.assessment.difference;
    (options.rule.basis() == Basis::Probability).then(|| above(chosen.boundary(), difference, margin))?
}

/// How far the loss at a boundary lies above the whole adapter's.
fn above(boundary: usize, difference: f64, margin: f64) -> Option<Finding> {
    (difference > margin).then(|| {
        let sentence = format!(
            "the probability curve does not know the losses: at boundary {boundary} the loss is {difference:.4} nats above the \
             whole adapter's, where `--choose smallest` allows {margin:.4}"
        );
        Finding::new(sentence).with("difference", difference).with("margin", margin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_the_curve_does_not_know_are_pointed_out() {
        let told = above(19, 0.4, 0.03).unwrap_or_else(|| Finding::new(""));
        assert!(told.sentence.contains("boundary 19 the loss is 0.4000 nats above"), "{told:?}");
        assert_eq!(above(19, 0.4, 0.4), None);
    }
}
