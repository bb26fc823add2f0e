//! Base models with experts: what is in their files beside the decoder, and what adapters may save of their routers.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{copy_folder, document, fixture, lora_slim, read_json, read_safetensors, write_safetensors};

/// A copy of a base model with more tensors.
fn base_with(folder: &Path, case: &str, names: &[&str]) {
    copy_folder(&fixture("pico").join(case).join("base"), folder);
    let weights = folder.join("model.safetensors");
    let mut tensors = read_safetensors(&weights);
    tensors.extend(names.iter().map(|name| (name.to_string(), (vec![32], vec![0.5; 32]))));
    write_safetensors(&weights, &tensors);
}

/// The tensors that a scan says are not used.
fn unused(case: &str, names: &[&str]) -> String {
    let base = TempDir::new().unwrap();
    base_with(base.path(), case, names);
    let mut scan = lora_slim();
    scan.arg("scan").arg(fixture("pico").join(case).join("adapter")).arg("--base").arg(base.path());
    scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--quiet"]);
    let report = document(&scan.assert().success().get_output().stdout);
    let warnings = report["warnings"].as_array().unwrap().iter();
    let unused = warnings.filter(|warning| warning["code"] == "unused-input");
    unused.map(|warning| warning["sentence"].as_str().unwrap()).collect()
}

#[test]
fn layers_that_predict_several_tokens_are_known() {
    let behind = ["eh_proj", "enorm", "hnorm", "embed_tokens", "shared_head.head", "self_attn.o_proj"];
    let behind: Vec<String> = behind.iter().map(|module| format!("model.layers.4.{module}.weight")).collect();
    let behind: Vec<&str> = behind.iter().map(String::as_str).collect();
    for case in ["glm4-moe", "deepseek-v3"] {
        assert_eq!(unused(case, &behind), "");
    }
    assert_eq!(unused("qwen35", &["mtp.fc.weight", "mtp.layers.0.self_attn.q_norm.weight"]), "");
    assert_eq!(unused("ernie45-moe", &["model.mtp_block.0.input_layernorm.weight", "model.mtp_emb_norm.0.weight"]), "");
}

#[test]
fn a_layer_that_the_configuration_lacks_is_named() {
    let named = unused("glm4-moe", &["model.layers.4.input_layernorm.weight", "model.layers.3.mtpless.weight"]);
    assert!(named.contains("layers.4.input_layernorm") && named.contains("layers.3.mtpless"), "{named}");
}

#[test]
fn a_saved_bias_of_a_router_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let adapter = folder.path().join("adapter");
    copy_folder(&fixture("pico/dots1/adapter"), &adapter);
    let weights = adapter.join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&weights);
    let name = "model.layers.1.mlp.gate.e_score_correction_bias";
    tensors.insert(format!("base_model.model.{name}"), (vec![8], vec![0.5; 8]));
    write_safetensors(&weights, &tensors);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["modules_to_save"] = json!(["gate"]);
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut scan = lora_slim();
    scan.arg("scan").arg(&adapter).arg("--base").arg(fixture("pico/dots1/base"));
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains(name) && error.contains("not supported"), "{error}");
}
