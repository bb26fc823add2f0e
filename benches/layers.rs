//! How often the searches for a boundary, a window and a subset drop what they should not, and how much they drop: each on draws
//! with replacement from measured samples, which all samples together judge (docs/method.md).
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo bench --bench layers -- ADAPTER BASE SAMPLES.tokens.jsonl
//! ```
//! The variable is what the command sets for itself. Every layer's removal is measured once, for each sample, and so is what the
//! lowest and the highest layers cost together. In the simulation the costs of others add up: so the truth is known, while losses
//! and probabilities are as skewed, and go as much together, as real ones.
//!
//! Before that, how well one backward pass through a quarter of the samples ranks the layers by what all samples lose without each.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::choice::rules::SMALLEST;
use lora_slim::choice::subset::Split;
use lora_slim::choice::{ChoiceOptions, Criterion, Reference, choose};
use lora_slim::cli::{PrecisionArg, settings};
use lora_slim::hub::BasePath;
use lora_slim::measure::{
    self, ComputeOptions, Curve, Measurement, Point, Profile, SampleSize, Sensitivity, Strength, Work,
};
use lora_slim::model::device::DeviceName;
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::{EncodeOptions, FieldNames, encode, read};
use lora_slim::search::subset::{Removable, SubsetSearch};

type Failure = Box<dyn std::error::Error>;

const SIZES: [usize; 4] = [16, 32, 64, 128];
const SEEDS: u64 = 400;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [adapter, base, samples] = &given[..] else {
        println!("usage: cargo bench --bench layers -- ADAPTER BASE SAMPLES.tokens.jsonl");
        return Ok(());
    };
    let measured = measure_all(adapter, base, Path::new(samples))?;
    let ranks = |costs: Vec<f64>| rank_correlation(&measured.estimated, &costs);
    let lost = |criterion: Criterion| {
        let whole = criterion.mean(&measured.whole);
        measured.alone.iter().map(|without| criterion.mean(without) - whole).collect()
    };
    let options = ChoiceOptions::default();
    for criterion in std::iter::once(options.measure).chain(options.guard) {
        println!("estimates rank layers as {} does: {:.2} (Spearman)\n", criterion.name(), ranks(lost(criterion)));
    }
    println!("| search | samples | dropped | dropped wrongly |");
    println!("|---|---|---|---|");
    let searches: [(&str, Search); 3] =
        [("boundary", boundary), ("window", window), ("subset", |measured, options| subset(measured, options))];
    for (name, search) in searches {
        for size in SIZES.into_iter().filter(|&size| size <= measured.whole.sizes.len()) {
            println!("| {name} | {size} | {} |", row(&measured, search, size));
        }
    }
    Ok(())
}

/// Spearman's coefficient, for values that all differ.
fn rank_correlation(one: &[f64], other: &[f64]) -> f64 {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let rank = |value: &f64| values.iter().filter(|other| *other < value).count() as f64;
        values.iter().map(rank).collect()
    };
    let count = one.len() as f64;
    let squares: f64 = ranks(one).iter().zip(ranks(other)).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * squares / (count * (count * count - 1.0))
}

type Search = fn(&Measured, &ChoiceOptions) -> BTreeSet<usize>;

/// What a search comes to on draws of a size.
fn row(all: &Measured, search: Search, size: usize) -> String {
    let options = ChoiceOptions { rule: SMALLEST, ..ChoiceOptions::default() };
    let (mut dropped, mut wrong) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let drawn: Vec<usize> = (0..size).map(|_| random.usize(..all.whole.sizes.len())).collect();
        let without = search(&all.drawn(&drawn), &options);
        dropped += without.len();
        wrong += u64::from(!all.truly_holds(&without, &options));
    }
    format!("{:.2} layers | {:.1} %", dropped as f64 / SEEDS as f64, 100.0 * wrong as f64 / SEEDS as f64)
}

/// The layers above the boundary.
fn boundary(measured: &Measured, options: &ChoiceOptions) -> BTreeSet<usize> {
    let layers = measured.alone.len();
    let kept = |boundary: &usize| measured.without(&(*boundary..layers).collect());
    let points = (0..=layers).map(|boundary| Point { boundary, measurement: kept(&boundary) });
    let curve = Curve { points: points.collect(), work: Work::default() };
    (choose(&curve, options, |_| true).boundary()..layers).collect()
}

/// Half of the error for each of two searches.
fn by_stage(options: &ChoiceOptions) -> ChoiceOptions {
    ChoiceOptions { confidence: 1.0 - (1.0 - options.confidence) / 2.0, ..options.clone() }
}

/// The layers above the boundary, and then the lowest ones.
fn window(measured: &Measured, options: &ChoiceOptions) -> BTreeSet<usize> {
    let options = by_stage(options);
    let (layers, above) = (measured.alone.len(), boundary(measured, &options));
    let end = layers - above.len();
    let point = |kept: usize| {
        let without = (0..end - kept).chain(end..layers).collect();
        Point { boundary: kept, measurement: measured.without(&without) }
    };
    let whole = (end < layers).then(|| Point { boundary: end + 1, measurement: measured.whole.clone() });
    let base = Point { boundary: 0, measurement: measured.base.clone() };
    let points = std::iter::once(base).chain((1..=end).map(point)).chain(whole);
    let curve = Curve { points: points.collect(), work: Work::default() };
    let kept = choose(&curve, &options, |kept| kept > 0).boundary();
    if kept > end { above } else { (0..end - kept).chain(above).collect() }
}

/// The layers above the boundary, and then any others.
fn subset(measured: &Measured, options: &ChoiceOptions) -> BTreeSet<usize> {
    let options = by_stage(options);
    let (layers, above) = (measured.alone.len(), boundary(measured, &options));
    let start = measured.without(&above);
    let Some(split) = Split::draw(&start.sizes) else { return above };
    let parts: Vec<Removable> =
        (0..layers - above.len()).map(|layer| Removable { layer, block: None, left: Strength::NONE }).collect();
    let selection = Profile::below(layers - above.len(), layers);
    let search = SubsetSearch {
        selection: &selection,
        measurement: &start,
        parts: &parts,
        reference: Reference { base: &measured.base, whole: &measured.whole, confidence: options.confidence },
        options: &options,
    };
    let mut measure = |samples: &[usize], profiles: Vec<Profile>| {
        let left = |profile: &Profile| {
            measured.without(&(0..layers).filter(|layer| !profile.layers().contains(layer)).collect())
        };
        Ok(profiles.iter().map(|profile| left(profile).select(samples)).collect())
    };
    let found = search.path(&split.ranking, &mut measure).and_then(|mut path| {
        path.truncate(search.test(&split.testing, &path, &mut measure)?);
        Ok(path)
    });
    let removed = found.unwrap_or_default().into_iter().flat_map(|step| step.removed);
    removed.map(|part| part.layer).chain(above).collect()
}

/// What the removal of layers costs, by sample.
struct Measured {
    base: Measurement,
    whole: Measurement,
    /// Without each layer.
    alone: Vec<Measurement>,
    /// Without as many of the lowest layers.
    lowest: Vec<Measurement>,
    /// Without as many of the highest layers.
    highest: Vec<Measurement>,
    /// What the removal of each layer is estimated to cost, in squared nats per token.
    estimated: Vec<f64>,
}

impl Measured {
    /// The adapter without some layers: a run of the lowest and one of the highest as they were measured, all others as if their
    /// costs add up.
    fn without(&self, layers: &BTreeSet<usize>) -> Measurement {
        let all = self.alone.len();
        let low = (0..all).take_while(|layer| layers.contains(layer)).count();
        let high = (0..all - low).take_while(|place| layers.contains(&(all - 1 - place))).count();
        // A run is taken as measured only if it is all that is dropped; the other sets, even those that grow from it, add up.
        let is_runs = low + high == layers.len();
        let costs: Vec<&Measurement> = match is_runs {
            true => vec![&self.lowest[low], &self.highest[high]],
            false => layers.iter().map(|&layer| &self.alone[layer]).collect(),
        };
        let mut left = self.whole.clone();
        for cost in costs {
            for ((score, with), whole) in left.scores.iter_mut().zip(&cost.scores).zip(&self.whole.scores) {
                score.loss += with.loss - whole.loss;
                score.probability += with.probability - whole.probability;
            }
        }
        left
    }

    /// The same on drawn samples, each of which is a draw of its own.
    fn drawn(&self, drawn: &[usize]) -> Self {
        let sizes: Vec<SampleSize> =
            drawn.iter().enumerate().map(|(draw, &sample)| SampleSize { draw, ..self.whole.sizes[sample] }).collect();
        let sizes: std::sync::Arc<[SampleSize]> = sizes.into();
        let of = |measured: &Measurement| Measurement {
            scores: drawn.iter().map(|&sample| measured.scores[sample]).collect(),
            sizes: sizes.clone(),
        };
        let of_all = |measured: &Vec<Measurement>| measured.iter().map(of).collect();
        Self {
            base: of(&self.base),
            whole: of(&self.whole),
            alone: of_all(&self.alone),
            lowest: of_all(&self.lowest),
            highest: of_all(&self.highest),
            estimated: self.estimated.clone(),
        }
    }

    /// Whether the adapter without some layers is, on all samples, worse by no more than the margin, in loss and by the guard.
    fn truly_holds(&self, without: &BTreeSet<usize>, options: &ChoiceOptions) -> bool {
        let left = self.without(without);
        let reference = Reference { base: &self.base, whole: &self.whole, confidence: options.confidence };
        let mut criteria = std::iter::once(options.measure).chain(options.guard);
        criteria.all(|one| one.mean(&left) - one.mean(&self.whole) <= reference.margin(one, options.margin))
    }
}

/// Measures what the simulation draws from.
fn measure_all(adapter: &str, base: &str, samples: &Path) -> Result<Measured, Failure> {
    let arithmetic = settings::arithmetic(PrecisionArg::Auto, DeviceName::Cpu)?;
    let (model, _) = Model::open(&BasePath::find(base, None)?, &Device::Cpu, arithmetic)?;
    let adapter = Adapter::open(Path::new(adapter), None)?;
    let raws = read::read(samples, &FieldNames::default())?;
    let samples = encode::encode(raws, None, EncodeOptions::default(), samples, samples)?;
    let (adapted, layers) = (AdaptedModel::load(&model, &adapter)?, model.config.layers);
    let options = ComputeOptions { memory: 4 << 30, device: Device::Cpu };
    let measured = |dropped: Vec<Vec<usize>>| {
        let kept = |dropped: &Vec<usize>| (0..layers).filter(|layer| !dropped.contains(layer)).collect();
        let profiles = dropped.iter().map(|dropped| Profile::of_layers(&kept(dropped), layers)).collect();
        measure::profiles(&adapted, &samples, profiles, &options, &mut |_| true)
    };
    let highest = measured((0..=layers).map(|count| (layers - count..layers).collect()).collect())?;
    let lowest = measured((0..=layers).map(|count| (0..count).collect()).collect())?;
    let alone = measured((0..layers).map(|layer| vec![layer]).collect())?;
    let quarter = &samples[..samples.len().div_ceil(4)];
    let (seen, _) = measure::sensitivities(&adapted, quarter, &options, &mut |_| true)?;
    let estimate = |module: &Sensitivity| module.values.dot(&module.gradients) / (module.tokens.max(1) as f64).powi(2);
    let estimated = seen.iter().map(|modules| modules.values().map(estimate).sum()).collect();
    Ok(Measured { base: highest[layers].clone(), whole: highest[0].clone(), alone, lowest, highest, estimated })
}
