//! Base models with Mamba-2 layers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    copy_folder, document, fixture, lora_slim, pico_loss, read_json, read_safetensors, write_safetensors,
};

/// A scan with a case's adapter, or another one, on a base: its last loss, or what it says as it fails.
fn scanned(adapter: &Path, base: &Path) -> Result<f64, String> {
    let mut scan = lora_slim();
    scan.arg("scan").arg(adapter).arg("--base").arg(base).arg("--samples").arg(samples());
    let output = scan.args(["--precision", "f32", "--json", "--quiet"]).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(document(&output.stdout)["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap())
}

fn samples() -> PathBuf {
    fixture("pico/samples.tokens.jsonl")
}

/// The last loss of a case with changes of its configuration; null takes a key away.
fn with_config(case: &str, changes: Value) -> Result<f64, String> {
    let (folder, case) = (TempDir::new().unwrap(), fixture("pico").join(case));
    copy_folder(&case.join("base"), folder.path());
    let mut config = read_json(&case.join("base/config.json"));
    let config = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(config.remove(key)),
            value => drop(config.insert(key.clone(), value.clone())),
        }
    }
    // Python's word for it, as configurations before transformers 5 have it.
    let text = Value::Object(config.clone()).to_string().replace("\"Infinity itself\"", "Infinity");
    fs::write(folder.path().join("config.json"), text).unwrap();
    scanned(&case.join("adapter"), folder.path())
}

fn plain(case: &str) -> f64 {
    pico_loss(&samples(), &fixture("pico").join(case).join("adapter"), case)
}

#[test]
fn layers_have_former_names_and_letters() {
    let pattern = json!({"layers_block_type": null, "hybrid_override_pattern": "M-*-", "num_hidden_layers": 52});
    let former = json!({"layers_block_type": ["mamba", "mlp", "attention", "mlp"], "hybrid_override_pattern": "MMMM"});
    let keys = json!({"conv_kernel": null, "mamba_d_conv": 3, "time_step_limit": [0.0, "Infinity itself"]});
    for changes in [pattern, former, keys] {
        assert_eq!(with_config("nemotron-h", changes.clone()), Ok(plain("nemotron-h")), "{changes}");
    }
    let types = json!(["mamba", "attention", "mamba", "mamba"]);
    let wrong = json!(["attention", "mamba", "mamba", "mamba"]);
    let changes = json!({"layers_block_type": types, "layer_types": wrong});
    assert_eq!(with_config("granite4", changes), Ok(plain("granite4")));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (case, changes, said) in [
        ("nemotron-h", json!({"layers_block_type": null, "hybrid_override_pattern": "M-X-"}), "unknown type"),
        ("nemotron-h", json!({"layers_block_type": ["mamba", "mlp", "window", "mlp"]}), "window"),
        ("nemotron-h", json!({"mamba_hidden_act": "gelu"}), "another activation than SiLU"),
        ("granite4", json!({"hidden_act": "gelu"}), "another activation than SiLU"),
        ("granite4", json!({"time_step_limit": [0.9, 0.5]}), "time_step_limit"),
        ("granite4", json!({"time_step_limit": 0.5}), "time_step_limit"),
        ("granite4", json!({"mamba_d_head": 7}), "mamba_d_head"),
        ("granite4", json!({"mamba_n_groups": 3}), "multiples"),
        ("granite4", json!({"rms_norm_eps": "Infinity itself"}), "JSON"),
        ("falcon-h1", json!({"ssm_multipliers": [1.0, 2.0]}), "ssm_multipliers"),
    ] {
        let error = with_config(case, changes.clone()).unwrap_err();
        assert!(error.contains(said), "{changes}: {error}");
    }
}

/// A copy of a case's adapter with another saved tensor.
fn saving(folder: &Path, case: &str, name: &str, values: &[f32], shape: &[usize]) {
    copy_folder(&fixture("pico").join(case).join("adapter"), folder);
    let weights = folder.join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&weights);
    tensors.insert(format!("base_model.model.model.layers.{name}"), (shape.to_vec(), values.to_vec()));
    write_safetensors(&weights, &tensors);
    let mut config = read_json(&folder.join("adapter_config.json"));
    config["modules_to_save"] = json!([name.rsplit('.').nth(1).unwrap()]);
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

#[test]
fn saved_parameters_are_refused_by_name() {
    for (case, name, shape) in [
        ("granite4", "0.mamba.conv1d.weight", &[88, 1, 3][..]),
        ("granite4", "0.mamba.A_log", &[4]),
        ("falcon-h1", "1.mamba.D", &[4]),
        ("nemotron-h", "0.mixer.dt_bias", &[4]),
    ] {
        let folder = TempDir::new().unwrap();
        saving(&folder.path().join("adapter"), case, name, &vec![0.5; shape.iter().product()], shape);
        let base = fixture("pico").join(case).join("base");
        let error = scanned(&folder.path().join("adapter"), &base).unwrap_err();
        assert!(error.contains(name) && error.contains("not supported"), "{error}");
    }
}

#[test]
fn a_saved_norm_takes_the_place_of_the_bases() {
    let (folder, case) = (TempDir::new().unwrap(), fixture("pico/granite4"));
    let values: Vec<f32> = (0..64).map(|place| 0.5 + place as f32 / 64.0).collect();
    let (adapter, base) = (folder.path().join("adapter"), folder.path().join("base"));
    saving(&adapter, "granite4", "0.mamba.norm.weight", &values, &[64]);
    copy_folder(&case.join("base"), &base);
    let mut tensors = read_safetensors(&base.join("model.safetensors"));
    tensors.insert("model.layers.0.mamba.norm.weight".into(), (vec![64], values));
    write_safetensors(&base.join("model.safetensors"), &tensors);
    let (saved, replaced) = (scanned(&adapter, &case.join("base")).unwrap(), scanned(&case.join("adapter"), &base));
    assert!((saved - replaced.unwrap()).abs() < 1e-6);
    assert!((saved - plain("granite4")).abs() > 1e-4);
}
