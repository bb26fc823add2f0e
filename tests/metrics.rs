//! The scores of texts against the reference implementations (`scripts/fixtures/metrics.py`).

use lora_slim::metrics::{Metric, summed};
use proptest::prelude::*;

use crate::support::{fixture, read_json};

const METRICS: [Metric; 5] = [Metric::ExactMatch, Metric::F1, Metric::RougeL, Metric::Bleu, Metric::Chrf];

fn of_pair(metric: Metric, prediction: &str, reference: &str) -> f64 {
    metric.score(&metric.counts(prediction, reference))
}

/// As the reference implementations give it: all but those of sacrebleu as shares.
fn as_given(metric: Metric, score: f64) -> f64 {
    if matches!(metric, Metric::Bleu | Metric::Chrf) { score } else { score / 100.0 }
}

#[test]
fn pairs_score_as_the_reference_implementations_say() {
    let expected = read_json(&fixture("metrics.json"));
    let pairs = expected["pairs"].as_array().unwrap();
    assert!(pairs.len() >= 60);
    for pair in pairs {
        let (prediction, reference) = (pair["prediction"].as_str().unwrap(), pair["reference"].as_str().unwrap());
        for metric in METRICS {
            let score = as_given(metric, of_pair(metric, prediction, reference));
            let wanted = pair[metric.name()].as_f64().unwrap();
            assert!(
                (score - wanted).abs() < 1e-9,
                "{} of {prediction:?} and {reference:?}: {score} instead of {wanted}",
                metric.name()
            );
        }
    }
}

#[test]
fn corpora_score_as_sacrebleu_says() {
    let expected = read_json(&fixture("metrics.json"));
    let pairs = expected["pairs"].as_array().unwrap();
    for corpus in expected["corpora"].as_array().unwrap() {
        let place = |key: &str| corpus[key].as_u64().unwrap() as usize;
        for metric in [Metric::Bleu, Metric::Chrf] {
            let counts: Vec<Vec<f64>> = pairs[place("from")..place("to")]
                .iter()
                .map(|pair| metric.counts(pair["prediction"].as_str().unwrap(), pair["reference"].as_str().unwrap()))
                .collect();
            let score = metric.score(&summed(&counts));
            let wanted = corpus[metric.name()].as_f64().unwrap();
            assert!((score - wanted).abs() < 1e-9, "{} of {corpus}: {score}", metric.name());
        }
    }
}

proptest! {
    #[test]
    fn scores_have_bounds_and_equal_texts_the_highest(one in "\\PC{0,40}", other in "\\PC{0,40}") {
        for metric in METRICS {
            let score = of_pair(metric, &one, &other);
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{}: {score}", metric.name());
            prop_assert!(of_pair(metric, &one, &one) >= score - 1e-9, "{}", metric.name());
        }
        for metric in [Metric::ExactMatch, Metric::F1, Metric::RougeL] {
            prop_assert!((of_pair(metric, &one, &other) - of_pair(metric, &other, &one)).abs() < 1e-9);
        }
    }
}
