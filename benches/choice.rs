//! What a choice made on few samples is worth on many others: each rule on random subsets of one report's samples, judged
//! by all samples of another report of the same adapter (docs/method.md).
//!
//! ```text
//! lora-slim scan ADAPTER --samples val.jsonl --probability --json > val.json
//! lora-slim scan ADAPTER --samples test.jsonl --json > test.json
//! cargo bench --bench choice -- val.json test.json
//! ```
//!
//! The rule `curve` takes part where the first report has the probability curve.

use std::collections::BTreeSet;
use std::fs;

use lora_slim::choice::rules::{BEST, curve as probability};
use lora_slim::choice::{ChoiceOptions, choose};
use lora_slim::measure::{Curve, Measurement, Point, Work};
use lora_slim::measure::{Lens, Readout};
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

const SIZES: [usize; 4] = [8, 16, 32, 64];
const SEEDS: u64 = 200;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [validation, test] = &given[..] else {
        println!("usage: cargo bench --bench choice -- VALIDATION.json TEST.json (reports of `scan --json`)");
        return Ok(());
    };
    let (lens, validation, test) = (read_lens(validation)?, read_curve(validation)?, read_curve(test)?);
    let (test, answers) = (Truth::new(&test), validation.sizes().len());
    println!("| rule | samples | within the margin | median boundary | median gain kept | 9 of 10 keep at least |");
    println!("|---|---|---|---|---|---|");
    for (name, options) in rules() {
        let chosen = |places: &[usize]| choose(&validation.select(places), &options, |_| true).boundary();
        print_rows(name, answers, &test, options.margin, chosen);
    }
    if let Some(lens) = lens {
        let candidates: BTreeSet<usize> = validation.points.iter().map(|point| point.boundary).collect();
        let read = |places: &[usize]| probability::read(&lens.of_samples(places), &candidates, |_| true).boundary;
        print_rows("curve", answers, &test, ChoiceOptions::default().margin, read);
    }
    Ok(())
}

fn print_rows(name: &str, samples: usize, test: &Truth, margin: f64, choose: impl Fn(&[usize]) -> usize) {
    for size in SIZES.into_iter().filter(|&size| size <= samples) {
        println!("| {name} | {size} | {} |", row(samples, test, margin, size, &choose));
    }
}

fn rules() -> Vec<(&'static str, ChoiceOptions)> {
    // By the loss alone: `cargo bench --bench guards` says what the guard adds.
    let loss_only = ChoiceOptions { guard: None, ..ChoiceOptions::default() };
    let smallest = |margin| ChoiceOptions { margin, ..loss_only.clone() };
    let best = |one_standard_error| ChoiceOptions { rule: BEST, one_standard_error, ..loss_only.clone() };
    vec![
        ("smallest, 1 %", smallest(0.01)),
        ("smallest, 2 %", smallest(0.02)),
        ("smallest, 5 %", smallest(0.05)),
        ("best", best(false)),
        ("best, one standard error", best(true)),
    ]
}

fn list(value: &Value) -> Result<&Vec<Value>, Failure> {
    value.as_array().ok_or("this is not a report of `scan --json`".into())
}

fn numbers(value: &Value) -> Result<Vec<f64>, Failure> {
    Ok(list(value)?.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect())
}

fn answers(report: &Value) -> Result<Vec<usize>, Failure> {
    Ok(numbers(&report["samples"]["per_sample"])?.into_iter().map(|tokens| tokens as usize).collect())
}

/// The probability curve of a report, if it has one. Its losses are not kept by sample, nor does the rule look at them.
fn read_lens(path: &str) -> Result<Option<Lens>, Failure> {
    let report: Value = serde_json::from_slice(&fs::read(path)?)?;
    let Some(points) = report["probability"].as_array() else { return Ok(None) };
    let readouts = |stream: &str| -> Result<Vec<Readout>, Failure> {
        let readout = |point: &Value| {
            let probabilities = numbers(&point[stream]["per_sample"])?;
            Ok(Readout { losses: vec![0.0; probabilities.len()], probabilities })
        };
        points.iter().map(readout).collect()
    };
    let (base, adapted) = (readouts("base")?, readouts("adapted")?);
    Ok(Some(Lens { base, adapted, tokens: answers(&report)?, work: Work::default() }))
}

/// The curve of a report.
fn read_curve(path: &str) -> Result<Curve, Failure> {
    let report: Value = serde_json::from_slice(&fs::read(path)?)?;
    let tokens = answers(&report)?;
    let point = |point: &Value| -> Result<Point, Failure> {
        let boundary = point["boundary"].as_u64().unwrap_or_default() as usize;
        let mut measurement = Measurement::of_losses(&numbers(&point["per_sample"])?, &tokens);
        let probabilities = numbers(&point["per_sample_probability"])?;
        measurement.scores.iter_mut().zip(probabilities).for_each(|(score, sum)| score.probability = sum);
        Ok(Point { boundary, measurement })
    };
    let points = list(&report["curve"])?.iter().map(point).collect::<Result<_, Failure>>()?;
    Ok(Curve { points, work: Work::default() })
}

/// The losses by boundary on samples that did not choose, as (boundary, loss).
struct Truth(Vec<(usize, f64)>);

impl Truth {
    fn new(curve: &Curve) -> Self {
        Self(curve.points.iter().map(|point| (point.boundary, point.measurement.loss())).collect())
    }

    /// The share of the adapter's gain that a boundary keeps.
    fn gain_kept(&self, boundary: usize) -> f64 {
        let (base, whole) = (self.0[0].1, self.0[self.0.len() - 1].1);
        let found = self.0.iter().find(|(other, _)| *other == boundary);
        (base - found.map_or(f64::NAN, |(_, loss)| *loss)) / (base - whole)
    }
}

/// What the choices on subsets of a size come to.
fn row(samples: usize, test: &Truth, margin: f64, size: usize, choose: impl Fn(&[usize]) -> usize) -> String {
    let choice = |seed| {
        let mut places: Vec<usize> = (0..samples).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut places);
        choose(&places[..size])
    };
    let mut boundaries: Vec<usize> = (0..SEEDS).map(choice).collect();
    boundaries.sort_unstable();
    let mut gains: Vec<f64> = boundaries.iter().map(|&boundary| test.gain_kept(boundary)).collect();
    gains.sort_by(f64::total_cmp);
    // A difference in loss of at most the margin is a share of the gain of at least what is left of it.
    let within = gains.iter().filter(|&&gain| gain >= 1.0 - margin).count();
    format!(
        "{:.1} % | {} | {:.1} % | {:.1} %",
        100.0 * within as f64 / SEEDS as f64,
        boundaries[boundaries.len() / 2],
        100.0 * gains[gains.len() / 2],
        100.0 * gains[gains.len() / 10],
    )
}
