//! What a guard is worth: choices on random subsets of a report's samples, judged by the scores of generated answers on other
//! samples (docs/method.md).
//!
//! ```text
//! lora-slim scan ADAPTER --samples val.jsonl --search exhaustive --json > val.json
//! cargo bench --bench guards -- val.json scores.json
//! ```
//!
//! `scores.json` has the score of the generated answers at boundaries, in points, as `{"30": 53.6, "29": 54.1}`; those between two
//! of them lie on the line.

use std::collections::BTreeMap;
use std::fs;

use lora_slim::choice::rules::{BEST, SMALLEST};
use lora_slim::choice::{ChoiceOptions, Criterion, choose};
use lora_slim::measure::{Curve, Measurement, Point, SampleScore, SampleSize, Work};
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

const SIZES: [usize; 4] = [16, 32, 64, 128];
const SEEDS: u64 = 200;

/// A fall by more than this many points is one that a user sees.
const FALL: f64 = 1.0;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [report, scores] = &given[..] else {
        println!("usage: cargo bench --bench guards -- VALIDATION.json SCORES.json");
        return Ok(());
    };
    let report: Value = serde_json::from_slice(&fs::read(report)?)?;
    let (curve, bytes) = (read_curve(&report)?, read_bytes(&report)?);
    let scores = Scores(serde_json::from_slice(&fs::read(scores)?)?);
    println!("| choice | samples | falls by more than {FALL} point | mean change | bytes saved |");
    println!("|---|---|---|---|---|");
    for (name, options) in choices() {
        for size in SIZES.into_iter().filter(|&size| size <= curve.sizes().len()) {
            println!("| {name} | {size} | {} |", row(&curve, &bytes, &scores, &options, size));
        }
    }
    Ok(())
}

fn choices() -> Vec<(&'static str, ChoiceOptions)> {
    let of = |rule, guard| ChoiceOptions { rule, guard, ..ChoiceOptions::default() };
    vec![
        ("smallest, loss only", of(SMALLEST, None)),
        ("smallest, token accuracy", of(SMALLEST, Some(Criterion::TokenAccuracy))),
        ("smallest, token probability", of(SMALLEST, Some(Criterion::TokenProbability))),
        ("best, loss only", of(BEST, None)),
        ("best, token accuracy", of(BEST, Some(Criterion::TokenAccuracy))),
        ("best, token probability", of(BEST, Some(Criterion::TokenProbability))),
    ]
}

/// Scores of generated answers by boundary, in points.
struct Scores(BTreeMap<usize, f64>);

impl Scores {
    fn at(&self, boundary: usize) -> f64 {
        let below = self.0.range(..=boundary).next_back();
        let above = self.0.range(boundary..).next();
        match (below, above) {
            (Some((low, a)), Some((high, b))) if low < high => {
                a + (b - a) * (boundary - low) as f64 / (high - low) as f64
            }
            (Some((_, score)), _) | (None, Some((_, score))) => *score,
            (None, None) => f64::NAN,
        }
    }
}

/// What the choices on subsets of a size come to.
fn row(curve: &Curve, bytes: &BTreeMap<usize, f64>, scores: &Scores, options: &ChoiceOptions, size: usize) -> String {
    let whole = curve.whole().boundary;
    let choice = |seed| {
        let mut places: Vec<usize> = (0..curve.sizes().len()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut places);
        choose(&curve.select(&places[..size]), options, |_| true).boundary()
    };
    let boundaries: Vec<usize> = (0..SEEDS).map(choice).collect();
    let mean = |of: &dyn Fn(usize) -> f64| boundaries.iter().map(|&boundary| of(boundary)).sum::<f64>() / SEEDS as f64;
    let change = |boundary| scores.at(boundary) - scores.at(whole);
    let falls = mean(&|boundary| f64::from(u8::from(change(boundary) < -FALL)));
    let saved = mean(&|boundary| 1.0 - bytes[&boundary] / bytes[&whole]);
    format!("{:.1} % | {:+.2} | {:.1} %", 100.0 * falls, mean(&change), 100.0 * saved)
}

fn read_bytes(report: &Value) -> Result<BTreeMap<usize, f64>, Failure> {
    let point = |point: &Value| Some((point["boundary"].as_u64()? as usize, point["bytes"].as_f64()?));
    Ok(points(report)?.iter().filter_map(point).collect())
}

fn read_curve(report: &Value) -> Result<Curve, Failure> {
    let tokens = numbers(&report["samples"]["per_sample"])?.into_iter().enumerate();
    let sizes: std::sync::Arc<[SampleSize]> =
        tokens.map(|(draw, tokens)| SampleSize { tokens: tokens as usize, ends: 0, draw, slice: 0 }).collect();
    let point = |point: &Value| -> Result<Point, Failure> {
        let (losses, probabilities) = (numbers(&point["per_sample"])?, numbers(&point["per_sample_probability"])?);
        let correct = numbers(&point["per_sample_correct"])?;
        let score = |((loss, probability), correct)| SampleScore {
            probability,
            correct: correct as usize,
            ..SampleScore::of_loss(loss)
        };
        let scores = losses.into_iter().zip(probabilities).zip(correct).map(score).collect();
        let boundary = point["boundary"].as_u64().unwrap_or_default() as usize;
        Ok(Point { boundary, measurement: Measurement { scores, sizes: sizes.clone() } })
    };
    Ok(Curve { points: points(report)?.iter().map(point).collect::<Result<_, _>>()?, work: Work::default() })
}

fn points(report: &Value) -> Result<&Vec<Value>, Failure> {
    report["curve"].as_array().ok_or("this is not a report of `scan --json`".into())
}

fn numbers(value: &Value) -> Result<Vec<f64>, Failure> {
    let list = value.as_array().ok_or("this is not a report of `scan --json`")?;
    Ok(list.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect())
}
