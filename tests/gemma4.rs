//! Gemma 4, whose later layers read the keys and values of earlier ones, and whose layers have inputs of their own.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    copy_folder, document, fixture, lora_slim, pico_loss, read_json, read_safetensors, write_safetensors,
};

const CASE: &str = "gemma4";

/// A copy of the adapter of the tiny Gemma 4 with a pair for another module.
fn with_pair(folder: &Path, module: &str, (inputs, outputs): (usize, usize)) {
    copy_folder(&fixture("pico").join(CASE).join("adapter"), folder);
    let weights = folder.join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&weights);
    for (part, shape) in [("lora_A", [4, inputs]), ("lora_B", [outputs, 4])] {
        let name = format!("base_model.model.model.{module}.{part}.weight");
        tensors.insert(name, (shape.to_vec(), vec![0.5; shape.iter().product()]));
    }
    write_safetensors(&weights, &tensors);
    let config = folder.join("adapter_config.json");
    let mut edited = read_json(&config);
    let last = module.rsplit('.').next().unwrap();
    edited["target_modules"].as_array_mut().unwrap().push(json!(last));
    fs::write(config, edited.to_string()).unwrap();
}

fn scan(adapter: &Path) -> assert_cmd::assert::Assert {
    let mut scan = lora_slim();
    scan.arg("scan").arg(adapter).arg("--base").arg(fixture("pico").join(CASE).join("base"));
    scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--precision", "f32"]).assert()
}

/// Trainers have wrapped the keys of layers that have none; PEFT drops them.
#[test]
fn keys_of_layers_that_read_others_are_named_and_left_out() {
    let folder = TempDir::new().unwrap();
    with_pair(folder.path(), "layers.2.self_attn.k_proj", (32, 16));
    let assert = scan(folder.path()).success();
    let report = document(&assert.get_output().stdout);
    let loss = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
    let case = fixture("pico").join(CASE);
    let plain = pico_loss(&fixture("pico/samples.tokens.jsonl"), &case.join("adapter"), CASE);
    assert!((loss - plain).abs() < 1e-6, "{loss} instead of {plain}");
    let named = String::from_utf8_lossy(&assert.get_output().stderr).into_owned() + &report["warnings"].to_string();
    assert!(named.contains("layers.2.self_attn.k_proj") && named.contains("leave these out"), "{named}");
}

#[test]
fn maps_that_all_layers_share_are_refused_by_name() {
    for (module, sizes) in [("per_layer_model_projection", (32, 24)), ("embed_tokens_per_layer", (320, 24))] {
        let folder = TempDir::new().unwrap();
        with_pair(folder.path(), module, sizes);
        let assert = scan(folder.path()).code(3);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(module) && error.contains("cannot evaluate"), "{error}");
    }
}

#[test]
fn experts_in_layers_with_inputs_of_their_own_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture("pico").join(CASE).join("base"), folder.path());
    let config = folder.path().join("config.json");
    let mut edited = read_json(&config);
    edited["enable_moe_block"] = true.into();
    for (key, size) in [("num_experts", 4), ("top_k_experts", 2), ("moe_intermediate_size", 12)] {
        edited[key] = size.into();
    }
    fs::write(config, edited.to_string()).unwrap();
    let mut scan = lora_slim();
    scan.arg("scan").arg(fixture("pico").join(CASE).join("adapter")).arg("--base").arg(folder.path());
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("hidden_size_per_layer_input"), "{error}");
}
