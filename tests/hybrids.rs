//! Base models in which some layers have another mixer than attention.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    copy_folder, fixture, lora_slim, pico_loss, read_json, read_safetensors, stdout, write_adapter, write_safetensors,
};

/// The error of a scan with an adapter on the tiny Qwen 3.5.
fn refused(adapter: &Path) -> String {
    let mut scan = lora_slim();
    scan.arg("scan").arg(adapter).arg("--base").arg(fixture("pico/qwen35/base"));
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// A copy of the adapter of the tiny Qwen 3.5 with another saved tensor.
fn saving(folder: &Path, name: &str, shape: &[usize], modules: &[&str]) {
    copy_folder(&fixture("pico/qwen35/adapter"), folder);
    let weights = folder.join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&weights);
    let name = format!("base_model.model.model.layers.{name}");
    tensors.insert(name, (shape.to_vec(), vec![0.5; shape.iter().product()]));
    write_safetensors(&weights, &tensors);
    let mut config = read_json(&folder.join("adapter_config.json"));
    config["modules_to_save"] = json!(modules);
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

#[test]
fn saved_parameters_of_a_delta_net_are_refused_by_name() {
    for (name, shape, module) in [
        ("0.linear_attn.conv1d.weight", &[56, 1, 4][..], "conv1d"),
        ("0.linear_attn.A_log", &[4], "linear_attn"),
        ("1.linear_attn.dt_bias", &[4], "linear_attn"),
    ] {
        let folder = TempDir::new().unwrap();
        saving(&folder.path().join("adapter"), name, shape, &[module]);
        let error = refused(&folder.path().join("adapter"));
        assert!(error.contains(name) && error.contains("not supported"), "{error}");
    }
}

#[test]
fn a_layer_takes_only_what_its_mixer_has() {
    let folder = TempDir::new().unwrap();
    let adapter = folder.path().join("adapter");
    saving(&adapter, "0.self_attn.q_norm.weight", &[16], &["q_norm"]);
    let error = refused(&adapter);
    assert!(error.contains("layers.0.self_attn.q_norm") && error.contains("does not exist"), "{error}");
}

#[test]
fn attention_in_every_fourth_layer_is_complete() {
    let folder = TempDir::new().unwrap();
    let modules: Vec<String> = [3, 7, 11]
        .iter()
        .flat_map(|layer| ["q_proj", "v_proj"].map(|name| format!("model.layers.{layer}.self_attn.{name}")))
        .collect();
    let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
    let adapter = folder.path().join("adapter");
    write_adapter(&adapter, &modules, json!({"target_modules": ["q_proj", "v_proj"]}));
    let text = stdout(lora_slim().arg("check").arg(&adapter).args(["--runtime", "peft"]).assert().success());
    assert!(!text.contains("no tensors"), "{text}");
    // Layers without a pattern are missing.
    let some = [modules[0], modules[1], modules[4], modules[5]];
    write_adapter(&folder.path().join("cut"), &some, json!({"target_modules": ["q_proj", "v_proj"]}));
    let cut = lora_slim().arg("check").arg(folder.path().join("cut")).args(["--runtime", "peft"]).assert().code(5);
    assert!(stdout(cut).contains("no tensors"));
}

#[test]
fn another_activation_is_refused() {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture("pico/qwen35/base"), folder.path());
    let mut config = read_json(&folder.path().join("config.json"));
    config["hidden_act"] = "relu".into();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut scan = lora_slim();
    scan.arg("scan").arg(fixture("pico/qwen35/adapter")).arg("--base").arg(folder.path());
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("another activation than SiLU"), "{error}");
}

/// The multimodal model around the decoder calls the modules otherwise, and `AutoModelForCausalLM` loads the decoder alone from it.
#[test]
fn adapters_of_the_text_model_fit_the_multimodal_files() {
    let (folder, case) = (TempDir::new().unwrap(), fixture("pico/qwen35"));
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    let renamed = |name: &str| name.replace("model.layers.", "model.language_model.layers.");
    let of_base = |name: &str| {
        if name.starts_with("lm_head") { name.into() } else { name.replacen("model.", "model.language_model.", 1) }
    };
    let tensors = read_safetensors(&case.join("base/model.safetensors"));
    write_safetensors(
        &base.join("model.safetensors"),
        &tensors.into_iter().map(|(name, tensor)| (of_base(&name), tensor)).collect(),
    );
    let text: Value = read_json(&case.join("base/config.json"));
    let config = json!({"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": text, "tie_word_embeddings": false});
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    let multimodal = folder.path().join("adapter");
    copy_folder(&case.join("adapter"), &multimodal);
    let weights = multimodal.join("adapter_model.safetensors");
    let tensors = read_safetensors(&weights);
    write_safetensors(&weights, &tensors.into_iter().map(|(name, tensor)| (renamed(&name), tensor)).collect());
    let samples = fixture("pico/samples.tokens.jsonl");
    let expected = pico_loss(&samples, &case.join("adapter"), "qwen35");
    for adapter in [&case.join("adapter"), &multimodal] {
        let mut scan = lora_slim();
        scan.arg("scan").arg(adapter).arg("--base").arg(&base).arg("--samples").arg(&samples);
        let output = scan.args(["--precision", "f32", "--json"]).assert().success();
        let report = crate::support::document(&output.get_output().stdout);
        let loss = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
        // The files hold the numbers in f32 now, and had them in bf16.
        assert!((loss - expected).abs() < 1e-6, "{loss} instead of {expected}");
    }
}
