//! Profiles other than boundaries: what the sweep computes for one is what an adapter that was really made so gives.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::files::Staging;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, ComputeOptions, Measurement, Profile, Strength};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::rewrite::Cut;
use lora_slim::samples::{EncodeOptions, FieldNames, Sample, encode, read};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{copy_folder, fixture, read_json};

fn model(base: &str) -> Model {
    Model::open(&BasePath::Folder(fixture("kinds").join(base)), &Device::Cpu, Arithmetic::F32).unwrap().0
}

fn samples() -> Vec<Sample> {
    let path = fixture("pico/samples.tokens.jsonl");
    let raws = read::read(&path, &FieldNames::default()).unwrap();
    encode::encode(raws, None, EncodeOptions::default(), &path, Path::new("")).unwrap()
}

fn evaluate(model: &Model, adapter: &Adapter, profiles: Vec<Profile>) -> Vec<Measurement> {
    let ends = AdaptedModel::load(model, adapter).unwrap();
    let options = ComputeOptions { memory: 1 << 30, device: Device::Cpu };
    measure::profiles(&ends, &samples(), profiles, &options, &mut |_| true).unwrap()
}

fn whole(model: &Model, adapter: &Adapter) -> Measurement {
    evaluate(model, adapter, vec![Profile::below(model.config.layers, model.config.layers)]).remove(0)
}

fn assert_equal(found: &Measurement, expected: &Measurement, what: &str) {
    for (a, b) in found.losses().zip(expected.losses()) {
        assert!((a - b).abs() < 2e-4, "{what}: {a} instead of {b}");
    }
}

/// A copy of a kind of adapter whose alpha is multiplied.
fn with_alpha_times(factor: f64, kind: &str, folder: &TempDir) -> Adapter {
    let path = folder.path().join(kind);
    copy_folder(&fixture("kinds").join(kind), &path);
    let mut config = read_json(&path.join("adapter_config.json"));
    for key in ["lora_alpha", "alpha"] {
        if let Some(alpha) = config[key].as_f64() {
            config[key] = json!(alpha * factor);
        }
    }
    for alpha in config["alpha_pattern"].as_object_mut().into_iter().flat_map(|patterns| patterns.values_mut()) {
        *alpha = json!(alpha.as_f64().unwrap() * factor);
    }
    std::fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
    Adapter::open(&path, None).unwrap()
}

#[test]
fn a_scale_is_another_alpha() {
    let folder = TempDir::new().unwrap();
    let kinds = ["all-linear", "rank-alpha-patterns", "dora", "dora-bias", "lora-bias", "loha", "lokr", "adalora"];
    let plain = kinds.map(|kind| ("base", kind));
    let experts = ["target-parameters-both", "expert-modules"].map(|kind| ("base-moe", kind));
    for (base, kind) in plain.into_iter().chain(experts) {
        let model = model(base);
        let adapter = Adapter::open(&fixture("kinds").join(kind), None).unwrap();
        let all = Profile::below(model.config.layers, model.config.layers);
        let scaled = evaluate(&model, &adapter, vec![all.scaled(0.25), all.scaled(1.5), all.clone()]);
        for (scale, scores) in [0.25, 1.5].into_iter().zip(&scaled) {
            let expected = whole(&model, &with_alpha_times(scale, kind, &folder));
            assert_equal(scores, &expected, &format!("{kind} times {scale}"));
            assert_ne!(scores, &scaled[2], "{kind}: the scale makes a difference");
        }
    }
}

/// Written with another alpha, an adapter gives what the sweep said of that scale; what lies outside the layers stays.
#[test]
fn a_scaled_cut_is_the_scaled_profile() {
    let folder = TempDir::new().unwrap();
    for kind in ["all-linear", "rank-alpha-patterns", "dora", "lora-bias", "loha", "lora-lm-head", "lora-embed"] {
        let model = model("base");
        let adapter = Adapter::open(&fixture("kinds").join(kind), None).unwrap();
        let boundary = model.config.layers - 1;
        let profile = Profile::below(boundary, model.config.layers).scaled(0.375);
        let scores = evaluate(&model, &adapter, vec![profile]).remove(0);
        let out = folder.path().join(kind);
        let staging = Staging::beside(&out).unwrap();
        Cut::below(&adapter, boundary).unwrap().scaled(0.375).unwrap().write(&staging).unwrap();
        staging.publish().unwrap();
        assert_equal(&scores, &whole(&model, &Adapter::open(&out, None).unwrap()), kind);
    }
}

#[test]
fn gaps_and_halves_are_what_a_cut_of_them_gives() {
    let folder = TempDir::new().unwrap();
    for (base, kind) in [("base", "all-linear"), ("base", "dora"), ("base", "bias-all"), ("base-moe", "expert-modules")]
    {
        let model = model(base);
        let adapter = Adapter::open(&fixture("kinds").join(kind), None).unwrap();
        let layers = model.config.layers;
        let family = model.config.family;
        let (kept, half) = (BTreeSet::from([0, layers - 1]), 1);
        let gaps = Profile::of_layers(&kept, layers);
        let strength = |layer| match layer == half {
            true => Strength { attention: 1.0, mlp: 0.0 },
            false => Strength { attention: 0.0, mlp: 1.0 },
        };
        let halves = Profile::new((0..layers).map(strength));
        let scores = evaluate(&model, &adapter, vec![gaps, halves, Profile::below(0, layers)]);
        let cuts = [
            Cut::new(&adapter, &kept).unwrap(),
            Cut::keeping(&adapter, |layer, module| family.is_of_attention(module) == (layer == half)).unwrap(),
        ];
        for (number, (cut, scores)) in cuts.iter().zip(&scores).enumerate() {
            let out = folder.path().join(format!("{kind}-{number}"));
            let staging = Staging::beside(&out).unwrap();
            cut.write(&staging).unwrap();
            staging.publish().unwrap();
            let written = Adapter::open(&out, None).unwrap();
            assert_equal(scores, &whole(&model, &written), &format!("{kind}, cut {number}"));
        }
        assert_ne!(scores[0], scores[2], "{kind}: what is kept makes a difference");
    }
}
