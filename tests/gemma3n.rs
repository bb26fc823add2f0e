//! Gemma 3n, whose tokens have several hidden states.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    copy_folder, document, fixture, lora_slim, pico_loss, read_json, read_safetensors, write_safetensors,
};

/// The multimodal model around the decoder calls its modules otherwise.
#[test]
fn the_multimodal_model_gives_the_losses_of_its_text() {
    let (folder, case) = (TempDir::new().unwrap(), fixture("pico/gemma3n"));
    let (base, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
    fs::create_dir(&base).unwrap();
    copy_folder(&case.join("adapter"), &adapter);
    let inside = |name: &str| name.replacen("model.", "model.language_model.", 1);
    let tensors = read_safetensors(&case.join("base/model.safetensors"));
    let renamed = tensors.into_iter().map(|(name, tensor)| (inside(&name), tensor)).collect();
    write_safetensors(&base.join("model.safetensors"), &renamed);
    let text = read_json(&case.join("base/config.json"));
    let config = json!({
        "model_type": "gemma3n",
        "architectures": ["Gemma3nForConditionalGeneration"],
        "text_config": text,
        "vision_soft_tokens_per_image": 256,
    });
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    let weights = adapter.join("adapter_model.safetensors");
    let of_model = |name: &str| name.replace("model.model.layers.", "model.model.language_model.layers.");
    let tensors = read_safetensors(&weights);
    write_safetensors(&weights, &tensors.into_iter().map(|(name, tensor)| (of_model(&name), tensor)).collect());
    let samples = fixture("pico/samples.tokens.jsonl");
    let mut scan = lora_slim();
    scan.arg("scan").arg(&adapter).arg("--base").arg(&base).arg("--samples").arg(&samples);
    let output = scan.args(["--precision", "f32", "--json"]).assert().success();
    let report = document(&output.get_output().stdout);
    let loss = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
    let expected = pico_loss(&samples, &case.join("adapter"), "gemma3n");
    assert!((loss - expected).abs() < 1e-6, "{loss} instead of {expected}");
}

#[test]
fn maps_between_embeddings_and_states_are_refused_by_name() {
    for module in ["altup_projections.0", "altup_unembed_projections.1"] {
        let (folder, case) = (TempDir::new().unwrap(), fixture("pico/gemma3n"));
        copy_folder(&case.join("adapter"), folder.path());
        let weights = folder.path().join("adapter_model.safetensors");
        let mut tensors = read_safetensors(&weights);
        for (part, shape) in [("lora_A", [4, 32]), ("lora_B", [32, 4])] {
            let name = format!("base_model.model.model.{module}.{part}.weight");
            tensors.insert(name, (shape.to_vec(), vec![0.5; 128]));
        }
        write_safetensors(&weights, &tensors);
        let mut scan = lora_slim();
        scan.arg("scan").arg(folder.path()).arg("--base").arg(case.join("base"));
        let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(module) && error.contains("cannot evaluate"), "{error}");
    }
}
