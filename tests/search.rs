//! The adaptive search against the exhaustive choice, on simulated curves: shapes that occur in practice with the noise
//! of real losses (`fixtures/smol-overfit/losses.json`, from transformers + PEFT).

use std::collections::BTreeSet;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::base::BasePath;
use lora_slim::choice::{self, Rule, choose};
use lora_slim::kernel::Arithmetic;
use lora_slim::model::{Ends, Model};
use lora_slim::samples::Sample;
use lora_slim::search::{self, Options, Search};
use lora_slim::sweep::{self, Curve, Point, Work, layer_passes};
use serde_json::Value;

use crate::support::{fixture, read_json};

const LAYERS: usize = 30;

/// Losses of real samples: what each boundary adds to the mean, and the answer tokens.
struct Noise {
    residuals: Vec<Vec<f64>>,
    answers: Vec<usize>,
}

impl Noise {
    fn read() -> Self {
        let file = read_json(&fixture("smol-overfit/losses.json"));
        let numbers = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
        let answers: Vec<usize> = numbers(&file["answers"]).into_iter().map(|tokens| tokens as usize).collect();
        let all: usize = answers.iter().sum();
        let residual = |losses: Vec<f64>| {
            let mean = losses.iter().sum::<f64>() / all as f64;
            losses.iter().zip(&answers).map(|(loss, &tokens)| loss - mean * tokens as f64).collect()
        };
        let residuals = file["per_sample"].as_array().unwrap().iter().map(|row| residual(numbers(row))).collect();
        Self { residuals, answers }
    }
}

/// Mean losses per token over the boundaries.
fn shape(kind: usize, random: &mut fastrand::Rng) -> Vec<f64> {
    let gain = 0.2 + 0.8 * random.f64();
    let bend = 0.3 + 0.5 * random.f64();
    (0..=LAYERS)
        .map(|boundary| {
            let x = boundary as f64 / LAYERS as f64;
            let fall = gain * (1.0 - x / bend).max(0.0).powi(2);
            2.5 + match kind {
                // Falls to the end; falls and stays; falls and rises; two valleys; anything.
                0 => gain * (1.0 - x).powi(2),
                1 => fall,
                2 => fall + 0.6 * gain * (x - bend).max(0.0),
                3 => fall + 0.15 * gain * (6.0 * std::f64::consts::PI * x).cos() * x,
                _ => fall + 0.05 * gain * random.f64(),
            }
        })
        .collect()
}

/// Samples drawn from the real ones, on a simulated curve.
fn simulate(kind: usize, samples: usize, noise: &Noise, random: &mut fastrand::Rng) -> Curve {
    let drawn: Vec<usize> = (0..samples).map(|_| random.usize(..noise.answers.len())).collect();
    let answers: Vec<usize> = drawn.iter().map(|&sample| noise.answers[sample]).collect();
    let points = shape(kind, random).into_iter().enumerate().map(|(boundary, mean)| {
        let loss = |&sample: &usize| {
            mean * noise.answers[sample] as f64 + noise.residuals[boundary][sample] + 0.05 * (random.f64() - 0.5)
        };
        Point { boundary, per_sample: drawn.iter().map(loss).collect() }
    });
    Curve { points: points.collect(), answers, work: Work::default() }
}

/// The choice of the search, and the share of the exhaustive work that it took.
fn searched(curve: &Curve, options: &choice::Options, seed: u64) -> (usize, f64) {
    let candidates: BTreeSet<usize> = (0..=LAYERS).collect();
    let mut search = Search::new(&candidates, &curve.answers, options, Options { seed, ..Options::default() });
    let mut work = 0;
    while let Some(round) = search.next() {
        work += layer_passes(LAYERS, &round.boundaries) * round.samples.len() as u64;
        let point = |&boundary: &usize| Point {
            boundary,
            per_sample: round.samples.iter().map(|&sample| curve.points[boundary].per_sample[sample]).collect(),
        };
        let points: Vec<Point> = round.boundaries.iter().map(point).collect();
        search.add(&round, &points);
    }
    let (seen, _) = search.finish(Work::default());
    let exhaustive = layer_passes(LAYERS, &candidates) * curve.answers.len() as u64;
    (choose(&seen, options, |_| true).boundary, work as f64 / exhaustive as f64)
}

#[test]
fn the_search_chooses_as_all_evaluations_would() {
    let noise = Noise::read();
    for rule in [Rule::Smallest, Rule::Best] {
        let options = choice::Options { rule, ..choice::Options::default() };
        let (mut agreed, mut shares) = (0, Vec::new());
        const CURVES: u64 = 300;
        for seed in 0..CURVES {
            let mut random = fastrand::Rng::with_seed(seed);
            let samples = [32, 64, 160][seed as usize % 3];
            let curve = simulate((seed as usize / 3) % 5, samples, &noise, &mut random);
            let (found, share) = searched(&curve, &options, seed);
            agreed += u64::from(found == choose(&curve, &options, |_| true).boundary);
            shares.push(share);
        }
        shares.sort_by(f64::total_cmp);
        let agreement = agreed as f64 / CURVES as f64;
        let (median, worst) = (shares[shares.len() / 2], shares[shares.len() - 1]);
        println!("{rule:?}: agreement {agreement:.3}, work {median:.3} of the exhaustive (median), {worst:.3} (worst)");
        assert!(agreement >= 1.0 - Options::default().error, "{rule:?}: {agreement}");
        assert!(median < 0.6 && worst < 1.2, "{rule:?}: {median}, {worst}");
    }
}

/// What the search did evaluate on all samples is what the exhaustive sweep gives.
#[test]
fn figures_of_the_search_are_those_of_the_sweep() {
    let folder = fixture("pico/llama-llama3-rope");
    let base = BasePath::Folder(folder.join("base"));
    let (model, _) = Model::open(&base, &Device::Cpu, Arithmetic::F32).unwrap();
    let adapter = Adapter::open(&folder.join("adapter"), None).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut sample = |line: usize| {
        let ids: Vec<u32> = (0..12 + line % 3).map(|_| random.u32(3..300)).collect();
        Sample { scored: (0..ids.len()).map(|place| place > 4).collect(), ids, line }
    };
    let samples: Vec<Sample> = (0..24).map(&mut sample).collect();
    let sweep_options = sweep::Options { memory: 1 << 30, device: Device::Cpu };
    let all = sweep::candidates(&adapter);
    let exhaustive =
        sweep::sweep(&Ends::load(&model, &adapter).unwrap(), &samples, &all, &sweep_options, &mut |_| true).unwrap();
    for rule in [Rule::Smallest, Rule::Best] {
        let options = choice::Options { rule, ..choice::Options::default() };
        let search_options = Options::default();
        let (curve, dropped) = search::run(
            &Ends::load(&model, &adapter).unwrap(),
            &samples,
            &options,
            search_options,
            &sweep_options,
            &mut |_| true,
        )
        .unwrap();
        assert_eq!(curve.points.len() + dropped.len(), exhaustive.points.len());
        for point in &curve.points {
            let same = exhaustive.points.iter().find(|other| other.boundary == point.boundary).unwrap();
            for (a, b) in point.per_sample.iter().zip(&same.per_sample) {
                assert!((a - b).abs() < 1e-3, "boundary {}: {a} instead of {b}", point.boundary);
            }
        }
        assert_eq!(choose(&curve, &options, |_| true).boundary, choose(&exhaustive, &options, |_| true).boundary);
    }
}
