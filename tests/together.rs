//! Several adapters of one base model in one sweep: what comes out is what each of them gives alone, for less work.

use std::path::Path;

use candle_core::Device;
use lora_slim::Error;
use lora_slim::adapter::Adapter;
use lora_slim::choice;
use lora_slim::error::ComputeError;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{ComputeOptions, SampleSize, sweep};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::{EncodeOptions, FieldNames, Sample, encode, read};
use lora_slim::search::{self, Search};

use crate::support::fixture;

/// Plain ones, of which the first two share even the stream of the base model, and some that change what lies outside
/// the layers, have no LoRA in some of them, or replace weights.
const ADAPTERS: [&str; 6] = ["all-linear", "rank-alpha-patterns", "layers-pattern", "saved-head", "lora-embed", "dora"];

fn open(base: &str) -> Model {
    let (model, _) = Model::open(&BasePath::Folder(fixture(base)), &Device::Cpu, Arithmetic::F32).unwrap();
    model
}

fn samples() -> Vec<Sample> {
    let path = fixture("pico/samples.tokens.jsonl");
    let raws = read::read(&path, &FieldNames::default()).unwrap();
    encode::encode(raws, None, EncodeOptions::default(), &path, Path::new("")).unwrap()
}

fn options() -> ComputeOptions {
    ComputeOptions { memory: 1 << 30, device: Device::Cpu }
}

#[test]
fn adapters_together_give_what_each_gives_alone() {
    let model = open("kinds/base");
    let adapters: Vec<Adapter> =
        ADAPTERS.iter().map(|name| Adapter::open(&fixture("kinds").join(name), None).unwrap()).collect();
    let ends: Vec<AdaptedModel> = adapters.iter().map(|adapter| AdaptedModel::load(&model, adapter).unwrap()).collect();
    let samples = samples();
    let together = sweep(&ends.iter().collect::<Vec<_>>(), &samples, &options(), &mut |_| true).unwrap();
    let mut shared = 0;
    for (i, curve) in together.iter().enumerate() {
        let alone = sweep(&[&ends[i]], &samples, &options(), &mut |_| true).unwrap().remove(0);
        assert_eq!(curve.points.len(), alone.points.len());
        for (point, expected) in curve.points.iter().zip(&alone.points) {
            assert_eq!(point.boundary, expected.boundary);
            for (a, b) in point.measurement.losses().zip(expected.measurement.losses()) {
                assert!((a - b).abs() < 1e-4, "{}, boundary {}: {a} instead of {b}", ADAPTERS[i], point.boundary);
            }
        }
        shared += u64::from(curve.work.layer_tokens < alone.work.layer_tokens);
    }
    // The base model's stream went through once for all plain adapters.
    let plain = ends.iter().filter(|ends| ends.is_plain()).count() as u64;
    assert!(plain >= 3 && shared == plain - 1, "{shared} of {plain}");
}

#[test]
fn searches_together_choose_what_each_chooses_alone() {
    let model = open("kinds/base");
    let adapters: Vec<Adapter> =
        ADAPTERS[..3].iter().map(|name| Adapter::open(&fixture("kinds").join(name), None).unwrap()).collect();
    let ends: Vec<AdaptedModel> = adapters.iter().map(|adapter| AdaptedModel::load(&model, adapter).unwrap()).collect();
    let samples: Vec<Sample> = samples().into_iter().cycle().take(24).collect();
    let choice = choice::ChoiceOptions::default();
    let search = search::SearchOptions::default();
    let together =
        search::run(&ends.iter().collect::<Vec<_>>(), &samples, &choice, search, &options(), &mut |_| true).unwrap();
    for (i, (curve, dropped)) in together.iter().enumerate() {
        let alone = search::run(&[&ends[i]], &samples, &choice, search, &options(), &mut |_| true).unwrap().remove(0);
        assert_eq!(dropped.len(), alone.1.len());
        assert_eq!(choice::choose(curve, &choice, |_| true), choice::choose(&alone.0, &choice, |_| true));
    }
}

#[test]
fn parts_of_a_search_hold_every_sample_once() {
    for count in [1, 7, 16, 17, 160] {
        let choice = choice::ChoiceOptions::default();
        let sizes = (0..count).map(|draw| SampleSize { tokens: 1, ends: 0, draw, slice: 0 }).collect();
        let search = Search::new(&(0..=12).collect(), sizes, &choice, search::SearchOptions::default());
        let mut places = search.parts().concat();
        places.sort_unstable();
        assert_eq!(places, (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn adapters_of_different_models_do_not_go_together() {
    let (one, other) = (open("kinds/base"), open("kinds/base"));
    let adapter = Adapter::open(&fixture("kinds/all-linear"), None).unwrap();
    let ends = [AdaptedModel::load(&one, &adapter).unwrap(), AdaptedModel::load(&other, &adapter).unwrap()];
    for ends in [&[&ends[0], &ends[1]][..], &[]] {
        let error = sweep(ends, &samples(), &options(), &mut |_| true).unwrap_err();
        assert!(matches!(error, Error::Compute(ComputeError::NoCommonBase)), "{error}");
    }
}
