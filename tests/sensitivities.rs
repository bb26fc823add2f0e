//! Sensitivities against differences of losses, which know nothing of derivatives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, ComputeOptions, Measurement, Profile, Sensitivity, Strength};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::{EncodeOptions, FieldNames, Sample, encode, read};

use crate::support::fixture;

/// How far strengths are moved in both directions. The differences are exact to its square.
const STEP: f64 = 0.002;

fn samples() -> Vec<Sample> {
    let path = fixture("pico/samples.tokens.jsonl");
    let raws = read::read(&path, &FieldNames::default()).unwrap();
    encode::encode(raws, None, EncodeOptions::default(), &path, Path::new("")).unwrap()
}

fn families() -> Vec<PathBuf> {
    let folders = fs::read_dir(fixture("pico")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("base/config.json").is_file()).collect();
    folders.sort();
    folders
}

/// The derivatives of the loss by the strengths of attention and MLP in each layer, from the slopes of their modules.
fn by_slopes(adapted: &AdaptedModel, samples: &[Sample], options: &ComputeOptions) -> Vec<[f64; 2]> {
    let (found, _) = measure::sensitivities(adapted, samples, options, &mut |_| true).unwrap();
    let family = adapted.model().config.family;
    let of_layer = |modules: &BTreeMap<String, Sensitivity>| {
        let sum = |attention: bool| {
            let own = modules.iter().filter(|(module, _)| family.is_of_attention(module) == attention);
            own.map(|(_, one)| one.slope.trace()).sum()
        };
        [sum(true), sum(false)]
    };
    found.iter().map(of_layer).collect()
}

/// The same from losses at strengths above and below 1.
fn by_differences(adapted: &AdaptedModel, samples: &[Sample], options: &ComputeOptions) -> Vec<[f64; 2]> {
    let layers = adapted.model().config.layers;
    let whole = Profile::below(layers, layers);
    let loss = |measured: &Measurement| measured.losses().sum::<f64>();
    let derivative = |layer: usize, moved: &dyn Fn(f64) -> Strength| {
        let profiles = [1.0 + STEP, 1.0 - STEP].map(|strength| whole.with(layer, |_| moved(strength)));
        let measured = measure::profiles(adapted, samples, profiles.to_vec(), options, &mut |_| true).unwrap();
        (loss(&measured[0]) - loss(&measured[1])) / (2.0 * STEP)
    };
    let of_layer = |layer: usize| {
        [
            derivative(layer, &|attention| Strength { attention, mlp: 1.0 }),
            derivative(layer, &|mlp| Strength { attention: 1.0, mlp }),
        ]
    };
    (0..layers).map(of_layer).collect()
}

/// How many of the derivatives of all samples agree with the differences, and of how many. Random models are rough: some samples lie
/// next to a bend, where a difference over a finite step is no derivative.
fn agreeing(base: &Path, adapter: &Path) -> (usize, usize) {
    let model = Model::open(&BasePath::Folder(base.into()), &Device::Cpu, Arithmetic::F32).unwrap().0;
    let adapter = Adapter::open(adapter, None).unwrap();
    let adapted = AdaptedModel::load(&model, &adapter).unwrap();
    let options = ComputeOptions { memory: 1 << 30, device: Device::Cpu };
    let (mut all, mut agreeing) = (0, 0);
    for sample in samples() {
        let sample = [sample];
        let slopes = by_slopes(&adapted, &sample, &options).into_iter().flatten();
        let differences = by_differences(&adapted, &sample, &options).into_iter().flatten();
        for (slope, difference) in slopes.zip(differences).filter(|(slope, _)| *slope != 0.0) {
            all += 1;
            agreeing += usize::from((slope - difference).abs() < 0.02 * difference.abs() + 0.02);
        }
    }
    (agreeing, all)
}

#[test]
fn slopes_are_the_derivatives_of_the_loss_in_every_family() {
    let mut wrong = Vec::new();
    for family in families() {
        let (agreeing, all) = agreeing(&family.join("base"), &family.join("adapter"));
        // A step may also take a token to other experts, which no derivative knows; a wrong derivative hardly ever agrees.
        let config = fs::read_to_string(family.join("base/config.json")).unwrap();
        let least = if config.contains("experts") { all / 4 } else { 2 * all / 3 };
        if all == 0 || agreeing < least {
            wrong.push(format!("{}: {agreeing} of {all} agree", family.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Half of the samples and the other half come to the whole, however they are packed.
#[test]
fn sums_are_those_of_the_samples() {
    let folder = fixture("pico/mistral");
    let model = Model::open(&BasePath::Folder(folder.join("base")), &Device::Cpu, Arithmetic::F32).unwrap().0;
    let adapter = Adapter::open(&folder.join("adapter"), None).unwrap();
    let adapted = AdaptedModel::load(&model, &adapter).unwrap();
    let options = ComputeOptions { memory: 1 << 30, device: Device::Cpu };
    let samples = samples();
    let of = |samples: &[Sample]| measure::sensitivities(&adapted, samples, &options, &mut |_| true).unwrap().0;
    let (whole, first, rest) = (of(&samples), of(&samples[..5]), of(&samples[5..]));
    for ((whole, first), rest) in whole.iter().zip(&first).zip(&rest) {
        for (module, whole) in whole {
            let sum = &first[module].gradients + &rest[module].gradients;
            assert!((&whole.gradients - &sum).norm() < 1e-3 * sum.norm(), "{module}");
            assert!(
                (&whole.slope - &first[module].slope - &rest[module].slope).norm() < 1e-3 * whole.slope.norm() + 1e-3
            );
        }
    }
}
