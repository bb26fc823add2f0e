//! `fewer-correct`: the loss holds, and fewer tokens or answers are correct.
//!
//! Overfitted adapters may have a lower loss and fewer correct answers after the cut: their upper layers make them overconfident,
//! but not wrong.

use super::Finding;
use crate::choice::Assessment;
use crate::format::percent_text;
use crate::report::{Report, Written};

/// A fall in correct tokens or answers by less than this share of all is not worth a warning.
const WORTH_A_WORD: f64 = 0.02;

pub fn find(report: &Report) -> Vec<Finding> {
    report.written_on_choosing().and_then(|written| finding(&written)).into_iter().collect()
}

fn finding(written: &Written) -> Option<Finding> {
    let (now, whole) = (&written.assessment, &written.whole);
    let falls = |of: fn(&Assessment) -> f64| of(whole) - of(now) > WORTH_A_WORD;
    (falls(|one| one.token_accuracy) || falls(|one| one.exact_match)).then(|| {
        let sentence = format!(
            "the loss does not tell all: {} of the tokens and {} of the answers of what is chosen are correct, and {} and {} of \
             the whole adapter's",
            percent_text(now.token_accuracy),
            percent_text(now.exact_match),
            percent_text(whole.token_accuracy),
            percent_text(whole.exact_match)
        );
        Finding::new(sentence)
            .with("token_accuracy", now.token_accuracy)
            .with("token_accuracy_whole", whole.token_accuracy)
            .with("exact_match", now.exact_match)
            .with("exact_match_whole", whole.exact_match)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::held_out::SampleSet;

    #[test]
    fn correct_answers_that_are_lost_are_pointed_out() {
        let assessment =
            |token_accuracy, exact_match| Assessment { token_accuracy, exact_match, ..Assessment::default() };
        let whole = assessment(0.71, 0.365);
        let found = |token_accuracy, exact_match| {
            let assessment = assessment(token_accuracy, exact_match);
            finding(&Written { on: SampleSet::Choosing, assessment, whole })
        };
        assert_eq!(found(0.705, 0.36), None);
        assert_eq!(found(0.8, 0.4), None);
        let lost = found(0.71, 0.025).unwrap_or_else(|| Finding::new(""));
        assert!(lost.sentence.contains("2.5 %") && lost.sentence.contains("36.5 %"), "{lost:?}");
        assert!(found(0.6, 0.365).is_some());
    }
}
