//! The adaptive search against the exhaustive choice, on simulated curves: shapes that occur in practice with the noise
//! of real losses (`fixtures/smol-overfit/losses.json`, from transformers + PEFT).

use std::collections::BTreeSet;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::choice::rules::{BEST, SMALLEST};
use lora_slim::choice::{self, choose};
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, Curve, Measurement, Point, Work, layer_passes};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::Sample;
use lora_slim::search::{self, Search, SearchOptions};
use serde_json::Value;

use crate::support::{fixture, read_json};

const LAYERS: usize = 30;
const CURVES: u64 = 600;
const KINDS: usize = 6;

/// Losses of real samples: the mean at each boundary, what each sample adds to it, and the answer tokens.
struct Noise {
    means: Vec<f64>,
    residuals: Vec<Vec<f64>>,
    answers: Vec<usize>,
}

impl Noise {
    fn read() -> Self {
        let file = read_json(&fixture("smol-overfit/losses.json"));
        let numbers = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
        let answers: Vec<usize> = numbers(&file["answers"]).into_iter().map(|tokens| tokens as usize).collect();
        let all: usize = answers.iter().sum();
        let losses: Vec<Vec<f64>> = file["per_sample"].as_array().unwrap().iter().map(numbers).collect();
        let means: Vec<f64> = losses.iter().map(|losses| losses.iter().sum::<f64>() / all as f64).collect();
        let residual = |(losses, mean): (&Vec<f64>, &f64)| {
            losses.iter().zip(&answers).map(|(loss, &tokens)| loss - mean * tokens as f64).collect()
        };
        let residuals = losses.iter().zip(&means).map(residual).collect();
        Self { means, residuals, answers }
    }
}

/// Mean losses per token over the boundaries.
fn shape(kind: usize, noise: &Noise, random: &mut fastrand::Rng) -> Vec<f64> {
    // A real one: a wide valley with a step in it.
    if kind == 5 {
        return noise.means.clone();
    }
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

/// The mean probability of the true tokens of a sample at a boundary, given its mean loss there. Likely tokens have a low loss; but
/// the adapter's upper layers make some likelier, and others much less likely.
fn probability(kind: usize, boundary: usize, loss: f64) -> f64 {
    match (kind, boundary) {
        (2, _) => ((-loss).exp() + 0.2 * boundary as f64 / LAYERS as f64).min(1.0),
        // Some boundaries lose what those on both sides keep: nothing below them may be chosen.
        (5, 0) => 0.1,
        (5, 18..24) => 0.3,
        (5, _) => 0.5,
        _ => (-loss).exp(),
    }
}

/// Samples drawn from the real ones, on a simulated curve.
fn simulate(kind: usize, samples: usize, noise: &Noise, random: &mut fastrand::Rng) -> Curve {
    let drawn: Vec<usize> = (0..samples).map(|_| random.usize(..noise.answers.len())).collect();
    let tokens: Vec<usize> = drawn.iter().map(|&sample| noise.answers[sample]).collect();
    let points = shape(kind, noise, random).into_iter().enumerate().map(|(boundary, mean)| {
        let loss = |&sample: &usize| {
            mean * noise.answers[sample] as f64 + noise.residuals[boundary][sample] + 0.05 * (random.f64() - 0.5)
        };
        let losses: Vec<f64> = drawn.iter().map(loss).collect();
        let mut measurement = Measurement::of_losses(&losses, &tokens);
        for (score, &tokens) in measurement.scores.iter_mut().zip(&tokens) {
            score.probability = tokens as f64 * probability(kind, boundary, score.loss / tokens as f64);
        }
        Point { boundary, measurement }
    });
    Curve { points: points.collect(), work: Work::default() }
}

/// The choice of the search, and the share of the exhaustive work that it took.
fn searched(curve: &Curve, options: &choice::ChoiceOptions, seed: u64) -> (usize, f64) {
    let candidates: BTreeSet<usize> = (0..=LAYERS).collect();
    let search_options = SearchOptions { seed, ..SearchOptions::default() };
    run(Search::new(&candidates, curve.sizes().clone(), options, search_options), curve, options)
}

/// As [`searched`], where the ends are known.
fn searched_between(curve: &Curve, options: &choice::ChoiceOptions, seed: u64) -> (usize, f64) {
    let candidates: BTreeSet<usize> = (0..=LAYERS).collect();
    let search_options = SearchOptions { seed, ..SearchOptions::default() };
    let mut search = Search::new(&candidates, curve.sizes().clone(), options, search_options);
    [curve.base(), curve.whole()].into_iter().for_each(|end| search.know(end.clone()));
    run(search, curve, options)
}

fn run(mut search: Search, curve: &Curve, options: &choice::ChoiceOptions) -> (usize, f64) {
    let candidates: BTreeSet<usize> = (0..=LAYERS).collect();
    let parts = search.parts();
    let mut walked = BTreeSet::new();
    let mut work = 0;
    while let Some(round) = search.next() {
        let samples = &parts[round.part];
        // The states of the prefix are kept from the first round on the same samples.
        let passes = match walked.insert(round.part) {
            true => layer_passes(LAYERS, &round.boundaries),
            false => round.boundaries.iter().map(|boundary| (LAYERS - boundary) as u64).sum(),
        };
        work += passes * samples.len() as u64;
        let point =
            |&boundary: &usize| Point { boundary, measurement: curve.points[boundary].measurement.select(samples) };
        let points: Vec<Point> = round.boundaries.iter().map(point).collect();
        search.add(&points);
    }
    let (seen, dropped) = search.finish(Work::default());
    let exhaustive = layer_passes(LAYERS, &candidates) * curve.sizes().len() as u64;
    let choice = choose(&seen, options, search::may_be_chosen(&dropped, options.rule));
    (choice.boundary(), work as f64 / exhaustive as f64)
}

/// The share of the exhaustive work that nobody can do without: the base model, the whole adapter and the chosen boundary on all
/// samples, and the boundary below it, which fails, at the first look.
fn floor(chosen: usize) -> f64 {
    let above = LAYERS - chosen;
    let inner = if chosen == 0 { 0.0 } else { above as f64 + (above + 1) as f64 / 4.0 };
    (2.0 * LAYERS as f64 + inner) / layer_passes(LAYERS, &(0..=LAYERS).collect()) as f64
}

/// Searches the simulated curves. Gives the share of equal choices, and the work as multiples of the floor, in order.
fn compare(
    options: &choice::ChoiceOptions,
    search: impl Fn(&Curve, &choice::ChoiceOptions, u64) -> (usize, f64),
) -> (f64, Vec<f64>) {
    let noise = Noise::read();
    let (mut agreed, mut shares, mut multiples) = (0, Vec::new(), Vec::new());
    for seed in 0..CURVES {
        let mut random = fastrand::Rng::with_seed(seed);
        let samples = [32, 64, 160][seed as usize % 3];
        let curve = simulate((seed as usize / 3) % KINDS, samples, &noise, &mut random);
        let (found, share) = search(&curve, options, seed);
        let expected = choose(&curve, options, |_| true).boundary();
        agreed += u64::from(found == expected);
        shares.push(share);
        multiples.push(share / floor(expected));
    }
    let agreement = agreed as f64 / CURVES as f64;
    [&mut shares, &mut multiples].into_iter().for_each(|all| all.sort_by(f64::total_cmp));
    let part = |all: &[f64], part: f64| all[((all.len() - 1) as f64 * part) as usize];
    println!(
        "{:?}{}: agreement {agreement:.3}; work {:.3} of the exhaustive (median), {:.3} (worst); times the floor {:.2} (median), \
         {:.2} (90 %), {:.2} (worst)",
        options.rule,
        if options.guard.is_some() { "" } else { ", loss only" },
        part(&shares, 0.5),
        part(&shares, 1.0),
        part(&multiples, 0.5),
        part(&multiples, 0.9),
        part(&multiples, 1.0),
    );
    (agreement, multiples)
}

#[test]
fn the_search_chooses_as_all_evaluations_would() {
    for (rule, guarded, most) in [(SMALLEST, true, 1.4), (BEST, true, 1.4), (SMALLEST, false, 1.6), (BEST, false, 2.6)]
    {
        let mut options = choice::ChoiceOptions { rule, ..choice::ChoiceOptions::default() };
        options.guard = options.guard.filter(|_| guarded);
        let (agreement, multiples) = compare(&options, searched);
        assert!(agreement >= 1.0 - SearchOptions::default().error, "{rule:?}: {agreement}");
        let (median, worst) = (multiples[multiples.len() / 2], multiples[multiples.len() - 1]);
        assert!(median < most && worst < 6.0, "{rule:?}: {median}, {worst}");
    }
}

#[test]
fn the_search_between_known_ends_chooses_as_all_evaluations_would() {
    for rule in [SMALLEST, BEST] {
        let options = choice::ChoiceOptions { rule, ..choice::ChoiceOptions::default() };
        let (agreement, _) = compare(&options, searched_between);
        assert!(agreement >= 1.0 - SearchOptions::default().error, "{rule:?}: {agreement}");
    }
}

/// Where the whole adapter does not surely help, the part that helps most is the choice, and the search finds it.
#[test]
fn the_search_finds_the_part_that_helps_if_the_whole_does_not() {
    let noise = Noise::read();
    let options = choice::ChoiceOptions::default();
    let (mut found, mut work) = (0, 0.0);
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut curve = simulate(2, 64, &noise, &mut random);
        // Above the middle the adapter does more harm than it helps below.
        for (boundary, point) in curve.points.iter_mut().enumerate() {
            let above = boundary.saturating_sub(LAYERS / 2);
            let mean = 2.0 - 0.05 * (boundary - above) as f64 + 0.07 * above as f64;
            let sized = point.measurement.scores.iter_mut().zip(&*point.measurement.sizes);
            for (score, size) in sized {
                score.loss = (mean + 0.1 * random.f64()) * size.tokens as f64;
                score.probability = size.tokens as f64 * (-mean).exp();
            }
        }
        let expected = choose(&curve, &options, |_| true).boundary();
        let (chosen, share) = searched(&curve, &options, seed);
        assert!((10..20).contains(&expected), "the choice of all evaluations is {expected}");
        found += usize::from(chosen == expected);
        work += share;
    }
    assert!(found >= 38, "{found} of 40");
    assert!(work < 0.7 * 40.0, "{} of the work, on average", work / 40.0);
}

/// Where every boundary holds, the lowest is the choice; where the adapter gains nothing, the base model is.
#[test]
fn the_search_goes_down_to_the_end_if_all_boundaries_hold() {
    let noise = Noise::read();
    let options = choice::ChoiceOptions::default();
    for samples in [16, 40, 160] {
        let mut random = fastrand::Rng::with_seed(samples as u64);
        let mut curve = simulate(1, samples, &noise, &mut random);
        for boundary in 0..=LAYERS {
            let mean = if boundary == 0 { 3.0 } else { 2.0 - 0.01 * (LAYERS - boundary) as f64 };
            let measured = &mut curve.points[boundary].measurement;
            for (score, size) in measured.scores.iter_mut().zip(&*measured.sizes) {
                score.loss = mean * size.tokens as f64 + 0.001 * random.f64();
                score.probability = size.tokens as f64 * (-mean).exp();
            }
        }
        assert_eq!(choose(&curve, &options, |_| true).boundary(), 1);
        assert_eq!(searched(&curve, &options, 0).0, 1, "{samples} samples");
        let base = &mut curve.points[0].measurement;
        for (score, size) in base.scores.iter_mut().zip(&*base.sizes) {
            score.loss = 1.5 * size.tokens as f64;
            score.probability = size.tokens as f64 * (-1.5f64).exp();
        }
        assert_eq!(choose(&curve, &options, |_| true).boundary(), 0);
        assert_eq!(searched(&curve, &options, 0).0, 0, "{samples} samples, no gain");
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
        Sample {
            scored: (0..ids.len()).map(|place| place > 4).collect(),
            ids,
            ends: Vec::new(),
            line,
            record: line,
            slice: 0,
        }
    };
    let samples: Vec<Sample> = (0..24).map(&mut sample).collect();
    let sweep_options = measure::ComputeOptions { memory: 1 << 30, device: Device::Cpu };
    let ends = AdaptedModel::load(&model, &adapter).unwrap();
    let exhaustive = measure::sweep(&[&ends], &samples, &sweep_options, &mut |_| true).unwrap().remove(0);
    // With little memory only some states of the prefix are kept, and with less none.
    for (rule, memory) in [(SMALLEST, 1 << 30), (BEST, 1 << 30), (BEST, 700_000), (BEST, 500_000)] {
        let options = choice::ChoiceOptions { rule, ..choice::ChoiceOptions::default() };
        let compute = measure::ComputeOptions { memory, ..sweep_options.clone() };
        let found =
            search::run(&[&ends], &samples, &options, SearchOptions::default(), &compute, &mut |_| true).unwrap();
        let (curve, dropped) = &found[0];
        assert_eq!(curve.points.len() + dropped.len(), exhaustive.points.len());
        for point in &curve.points {
            let same = exhaustive.points.iter().find(|other| other.boundary == point.boundary).unwrap();
            let (found, expected) = (&point.measurement, &same.measurement);
            for (a, b) in found.scores.iter().zip(&expected.scores) {
                assert_eq!(a.correct, b.correct, "boundary {}", point.boundary);
                let near = (a.loss - b.loss).abs() < 1e-3 && (a.probability - b.probability).abs() < 1e-3;
                assert!(near, "boundary {}: {a:?} instead of {b:?}", point.boundary);
            }
        }
        assert_eq!(
            choose(curve, &options, search::may_be_chosen(dropped, rule)).boundary(),
            choose(&exhaustive, &options, |_| true).boundary()
        );
    }
}
