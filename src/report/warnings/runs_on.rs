//! `runs-on`: the cut unlearns where to stop. The upper layers hold much of what an adapter has learnt about that.

use super::Finding;
use crate::format::percent_text;
use crate::report::{Report, Written};

/// A fall in correct ends by less than this share of all is not worth a warning.
const WORTH_STOPPING: f64 = 0.05;

pub fn find(report: &Report) -> Vec<Finding> {
    report.written_on_choosing().and_then(|written| finding(&written)).into_iter().collect()
}

fn finding(written: &Written) -> Option<Finding> {
    let (now, whole) = written.assessment.end_accuracy.zip(written.whole.end_accuracy)?;
    (whole - now > WORTH_STOPPING).then(|| {
        let sentence = format!(
            "answers may run on: {} of the tokens that end an answer are correct, and {} with the whole adapter",
            percent_text(now),
            percent_text(whole)
        );
        Finding::new(sentence).with("end_accuracy", now).with("end_accuracy_whole", whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Assessment;
    use crate::choice::held_out::SampleSet;

    #[test]
    fn answers_that_do_not_end_are_pointed_out() {
        let found = |now: Option<f64>| {
            let of = |end_accuracy| Assessment { end_accuracy, ..Assessment::default() };
            finding(&Written { on: SampleSet::Choosing, assessment: of(now), whole: of(Some(0.84)) })
        };
        let told = found(Some(0.14)).unwrap_or_else(|| Finding::new(""));
        assert!(told.sentence.contains("14.0 %") && told.sentence.contains("84.0 %"), "{told:?}");
        assert_eq!((found(Some(0.8)), found(None)), (None, None));
    }
}
