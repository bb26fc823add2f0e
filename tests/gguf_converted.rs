//! GGUF files of families whose files are not among the fixtures. A test makes them anew from the weights of a tiny model, as
//! llama.cpp's own converter wrote them (`scripts/fixtures/gguf_converted.py`), and wants the losses of transformers.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::Model;
use lora_slim::tensors::TensorStore;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::golden::{check_curve, names_of, scan_with};
use crate::support::{fixture, read_json};

const RECIPES: &str = "gguf-converted.json";

/// All numbers of a model, in the order of the names of their tensors.
fn numbers(base: &Path) -> Vec<f32> {
    let files = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|ending| ending == "safetensors")).collect();
    let store = TensorStore::open_files(base, &files).unwrap();
    let load = |name: &str| store.load(name, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    store.iter().flat_map(|(name, _)| load(name)).collect()
}

/// A tensor of a file from the places of its numbers, or from the numbers themselves.
fn tensor(recipe: &Json, numbers: &[f32]) -> QTensor {
    let change: fn(f32) -> f32 = match recipe["change"].as_str() {
        None => |number| number,
        Some("plus one") => |number| number + 1.0,
        Some("minus exp") => |number| -number.exp(),
        Some(other) => panic!("{other}"),
    };
    let run = |run: &Json| {
        let [first, count, step] = [0, 1, 2].map(|place| run[place].as_i64().unwrap());
        (0..count).map(move |place| (first + place * step) as usize)
    };
    let made: Vec<f32> = match recipe["values"].as_array() {
        Some(values) => values.iter().map(|value| value.as_f64().unwrap() as f32).collect(),
        None => recipe["runs"].as_array().unwrap().iter().flat_map(run).map(|place| change(numbers[place])).collect(),
    };
    let shape: Vec<usize> =
        recipe["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    QTensor::quantize(&Tensor::from_vec(made, shape, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap()
}

/// A value of the type that the file has it in.
fn value(kind: &str, value: &Json) -> Value {
    if let Some(kind) = kind.strip_prefix("ARRAY of ") {
        return Value::Array(value.as_array().unwrap().iter().map(|item| self::value(kind, item)).collect());
    }
    match kind {
        "STRING" => Value::String(value.as_str().unwrap().into()),
        "BOOL" => Value::Bool(value.as_bool().unwrap()),
        "FLOAT32" => Value::F32(value.as_f64().unwrap() as f32),
        "UINT32" => Value::U32(value.as_u64().unwrap() as u32),
        "INT32" => Value::I32(value.as_i64().unwrap() as i32),
        other => panic!("{other}"),
    }
}

/// Writes the file of a case as the converter does.
fn write(recipe: &Json, base: &Path, path: &Path) {
    let numbers = numbers(base);
    let metadata = recipe["metadata"].as_object().unwrap().iter();
    let metadata: Vec<(&String, Value)> =
        metadata.map(|(key, pair)| (key, value(pair[0].as_str().unwrap(), &pair[1]))).collect();
    let tokenizer = ("tokenizer.ggml.model", Value::String("none".into()));
    let mut metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    metadata.push((tokenizer.0, &tokenizer.1));
    let recipes = recipe["tensors"].as_array().unwrap().iter();
    let tensors: Vec<(&str, QTensor)> =
        recipes.map(|recipe| (recipe["name"].as_str().unwrap(), tensor(recipe, &numbers))).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

fn check(case: &str) {
    let (folder, work) = (fixture("pico").join(case), TempDir::new().unwrap());
    let path = work.path().join("base.gguf");
    let recipe = read_json(&fixture(RECIPES))[case].take();
    write(&recipe, &folder.join("base"), &path);
    let (model, _) = Model::open(&BasePath::Gguf(path.clone()), &Device::Cpu, Arithmetic::F32).unwrap();
    assert_eq!(model.remarks, Vec::<String>::new());
    let Some(losses) = recipe["losses"].as_array() else {
        return check_curve(&folder.join("adapter"), &path, &folder.join("expected.json"));
    };
    // The file describes another model than the case.
    let report = scan_with(&folder.join("adapter"), &path, ["--precision", "f32"], "none");
    for (point, wanted) in report["curve"].as_array().unwrap().iter().zip(losses) {
        let difference = (point["loss"].as_f64().unwrap() - wanted.as_f64().unwrap()).abs();
        assert!(difference < 2e-5, "boundary {} is off by {difference} nats per token", point["boundary"]);
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(#[test] fn $case() { check(&stringify!($case).replace('_', "-")); })*
        const NAMES: &[&str] = &[$(stringify!($case)),*];
    };
}

cases! {
    apertus arcee deepseek_v2 deepseek_v2_lite deepseek_v3 dots1 ernie45 ernie45_moe exaone_moe exaone4 exaone4_full
    falcon falcon_new falcon_one_norm gemma4 gemma4_keys gemma4_moe glm4_moe glm4_moe_air glm4_moe_lite gpt_bigcode
    granite4 granite4_dense granitemoeshared lfm2 lfm2_moe minimax_m2 mpt mpt_clipped nemotron nemotron_biases
    nemotron_h nemotron_h_latent nemotron_h_moe olmo olmo_clipped olmo3 olmoe phimoe phimoe_longrope qwen3_next
    qwen3_vl_moe qwen35 qwen35_moe seed_oss solar_open youtu
}

#[test]
fn no_case_is_forgotten() {
    let recipes = read_json(&fixture(RECIPES));
    assert_eq!(names_of(NAMES), recipes.as_object().unwrap().keys().cloned().collect());
}
