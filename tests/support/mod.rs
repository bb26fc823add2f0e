//! What the tests share: the fixtures, folders to work in, adapters made and broken by hand.

#[cfg(feature = "hub")]
pub mod hub;
pub mod kill;
#[cfg(target_os = "linux")]
pub mod limits;
pub mod mutate;
pub mod schema;
pub mod small_gguf;
pub mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
pub use schema::{document, documents};
use serde_json::{Value, json};

/// A file or folder of `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The program, with an empty Hugging Face cache, and offline.
pub fn lora_slim() -> Command {
    let mut command = Command::cargo_bin("lora-slim").expect("the program is built with its tests");
    command.env("HF_HUB_CACHE", fixture("no-such-cache")).env("HF_HUB_OFFLINE", "1");
    command
}

/// Reads a file of JSON; a report is held against its schema.
pub fn read_json(path: &Path) -> Value {
    let text = fs::read(path).expect("readable");
    if path.ends_with("slim_report.json") { document(text) } else { serde_json::from_slice(&text).expect("JSON") }
}

/// The loss of a whole adapter on the base model of a pico case, by `scan`: nothing forks, so this is an independent full forward.
pub fn pico_loss(samples: &Path, adapter: &Path, case: &str) -> f64 {
    let mut command = lora_slim();
    command.arg("scan").arg(adapter).arg("--base").arg(fixture("pico").join(case).join("base"));
    command.arg("--samples").arg(samples).args(["--precision", "f32", "--json", "--quiet"]);
    let report: Value = document(&command.assert().success().get_output().stdout);
    report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap()
}

/// A copy of a folder of fixtures that a test may break.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Tensors by name: shape and f32 values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes f32 tensors as safetensors.
pub fn write_safetensors(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.clone(), shape.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views =
        bytes.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Reads the tensors of a safetensors file, which are f32 or bf16.
pub fn read_safetensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let values = |view: &TensorView| -> Vec<f32> {
        if view.dtype() == Dtype::BF16 {
            let numbers = view.data().chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
            return numbers.map(|bits| f32::from_bits(u32::from(bits) << 16)).collect();
        }
        assert_eq!(view.dtype(), Dtype::F32);
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.iter().map(|(name, view)| (name.clone(), (view.shape().to_vec(), values(view)))).collect()
}

/// Writes an adapter folder with one tensor pair of rank 2 for each module.
pub fn write_adapter(folder: &Path, modules: &[&str], config: Value) {
    fs::create_dir_all(folder).unwrap();
    let mut tensors = Tensors::new();
    for (seed, module) in modules.iter().enumerate() {
        let values = |offset: usize| (0..8).map(|i| (seed * 16 + offset + i) as f32 * 0.01 + 0.01).collect();
        tensors.insert(format!("base_model.model.{module}.lora_A.weight"), (vec![2, 4], values(0)));
        tensors.insert(format!("base_model.model.{module}.lora_B.weight"), (vec![4, 2], values(8)));
    }
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    write_config(folder, config);
}

/// Writes an adapter_config.json of rank 2 with further keys.
pub fn write_config(folder: &Path, more: Value) {
    let mut config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

/// Samples for a pico model that none of `pico/samples.tokens.jsonl` repeats: their tokens, each moved on.
pub fn other_samples(folder: &Path) -> PathBuf {
    let moved = |line: &str| {
        let sample: Value = serde_json::from_str(line).unwrap();
        let ids = sample["input_ids"].as_array().unwrap().iter().map(|id| (id.as_u64().unwrap() * 7 + 31) % 300);
        json!({"input_ids": ids.collect::<Vec<_>>()}).to_string() + "\n"
    };
    let path = folder.join("other.jsonl");
    let lines = fs::read_to_string(fixture("pico/samples.tokens.jsonl")).unwrap();
    fs::write(&path, lines.lines().map(moved).collect::<String>()).unwrap();
    path
}

/// A pico adapter with six layers.
pub const ADAPTER: &str = "pico/llama-llama3-rope/adapter";

/// Runs `slim` on it in `folder`, into `out`.
pub fn slim(folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim()
        .current_dir(folder)
        .arg("slim")
        .arg(fixture(ADAPTER))
        .arg("--base")
        .arg(fixture("pico/llama-llama3-rope/base"))
        .arg("--samples")
        .arg(fixture("pico/samples.tokens.jsonl"))
        .args(["-o", "out"])
        .args(more)
        .assert()
}

pub fn stdout(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}
