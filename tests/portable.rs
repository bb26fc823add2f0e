//! One rank and one alpha for all (`--portable`), and zeros for dropped layers (`--pad-zeros`): the same change of the
//! weights, and the same losses as transformers + PEFT have for the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::{base_of_kind, largest_difference, scan_with};
use crate::support::{
    ADAPTER, Tensors, copy_folder, fixture, lora_slim, read_json, stdout, write_config, write_safetensors,
};

fn cut(adapter: &Path, out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().arg("cut").arg(adapter).arg("-o").arg(out).args(more).assert()
}

fn verify(original: &Path, slimmed: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().arg("verify").arg(original).arg(slimmed).args(more).assert()
}

/// The adapters of `fixtures/kinds`.
fn kinds() -> Vec<PathBuf> {
    let folders = fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|folder| folder.join("adapter_config.json").exists()).collect()
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// Methods and initialisations that are no product of two matrices, or none of the base model on disk.
const NOT_PORTABLE: [&str; 12] = [
    "boft",
    "fourierft",
    "hra",
    "ia3",
    "loha",
    "lokr",
    "lokr-both",
    "lokr-decomposed",
    "lokr-factor",
    "miss",
    "oft",
    "pissa",
];

#[test]
fn every_kind_is_made_portable_or_refused_by_name() {
    for folder in kinds() {
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        if NOT_PORTABLE.contains(&name(&folder)) || name(&folder) == "vera" {
            let refused = cut(&folder, &out, &["--portable"]).code(3);
            let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
            assert!(text.contains("plain LoRA") && text.contains(&*folder.to_string_lossy()), "{text}");
            assert!(!out.exists());
            continue;
        }
        cut(&folder, &out, &["--portable"]).success();
        verify(&folder, &out, &["--tolerance", "1e-6"]).success();
        let config = read_json(&out.join("adapter_config.json"));
        assert_eq!(config["peft_type"], "LORA");
        assert!(config["lora_alpha"].is_i64() && config["target_modules"].is_array(), "{}", folder.display());
        assert_ne!(config["use_rslora"], json!(true));
        for key in ["rank_pattern", "alpha_pattern"] {
            assert!(config[key].as_object().is_none_or(|patterns| patterns.is_empty()), "{}", folder.display());
        }
        let expected = folder.join("expected.json");
        if expected.exists() {
            let report = scan_with(&out, &base_of_kind(&folder), ["--precision", "f32"], "none");
            let difference = largest_difference(&report, &expected);
            assert!(difference < 5e-5, "{}: off by {difference} nats per token", folder.display());
        }
    }
}

#[test]
fn zeros_change_no_loss() {
    let mut padded = 0;
    for folder in kinds().into_iter().filter(|folder| folder.join("expected.json").exists()) {
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        let assert = cut(&folder, &out, &["--boundary", "2", "--pad-zeros"]);
        if assert.get_output().status.code() == Some(3) {
            let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(text.contains("cannot be padded with zeros") && !out.exists(), "{text}");
            continue;
        }
        assert.success();
        padded += 1;
        let text = stdout(verify(&folder, &out, &[]).success());
        assert!(text.contains("zeros in"), "{}: {text}", folder.display());
        let report = scan_with(&out, &base_of_kind(&folder), ["--precision", "f32"], "none");
        let whole = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
        let expected = read_json(&folder.join("expected.json"))["curve"][2]["loss"].as_f64().unwrap();
        assert!((whole - expected).abs() < 2e-5, "{}: {whole} instead of {expected}", folder.display());
    }
    assert!(padded > 20, "{padded}");
}

#[test]
fn zeros_are_given_for_as_many_layers_as_wanted() {
    let folder = TempDir::new().unwrap();
    let (original, out) = (fixture(ADAPTER), folder.path().join("out"));
    let text =
        stdout(cut(&original, &out, &["--boundary", "2", "--pad-zeros=9", "--rank", "1", "--portable"]).success());
    assert!(text.contains("zeros:") && text.contains("as much memory"), "{text}");
    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(1), &json!(1)));
    assert_eq!(config["layers_to_transform"], Value::Null, "the suffixes of the original mean every layer");
    let bytes = fs::read(out.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (name, tensor) in tensors.tensors() {
        let layer: usize = name.split('.').find_map(|part| part.parse().ok()).unwrap();
        assert_eq!(tensor.data().iter().all(|&byte| byte == 0), layer >= 2, "{name}");
        assert!(tensor.shape().contains(&1), "{name}");
    }
    let text = stdout(verify(&original, &out, &["--tolerance", "0.999"]).success());
    assert!(text.contains("layers 0-1, zeros in 2-8"), "{text}");
}

#[test]
fn zeros_in_a_kept_layer_are_pointed_out() {
    let folder = TempDir::new().unwrap();
    let (original, broken) = (fixture(ADAPTER), folder.path().join("broken"));
    copy_folder(&original, &broken);
    let path = broken.join("adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let zeroed = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    let range = {
        let data = tensors.tensor(zeroed).unwrap().data();
        let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + data.len()
    };
    let mut broken_bytes = bytes.clone();
    broken_bytes[range].fill(0);
    fs::write(&path, broken_bytes).unwrap();
    let text = stdout(verify(&original, &broken, &[]).code(5));
    assert!(text.starts_with("NOT verified: 1 difference"), "{text}");
    assert!(text.ends_with("\nmodule `model.layers.1.self_attn.q_proj` holds only zeros, but it is kept\n"), "{text}");
}

#[test]
fn values_are_widened_before_they_are_multiplied() {
    let folder = TempDir::new().unwrap();
    let (narrow, out) = (folder.path().join("narrow"), folder.path().join("out"));
    copy_folder(&fixture("kinds/bf16"), &narrow);
    let mut config = read_json(&narrow.join("adapter_config.json"));
    config["use_rslora"] = json!(true);
    fs::write(narrow.join("adapter_config.json"), config.to_string()).unwrap();
    cut(&narrow, &out, &["--portable"]).success();
    verify(&narrow, &out, &["--tolerance", "1e-6"]).code(5);
    verify(&narrow, &out, &["--tolerance", "0.004"]).success();
    let text = stdout(cut(&narrow, &out, &["--portable", "--dtype", "f32", "--force"]).success());
    assert!(text.contains("8 modules multiplied"), "{text}");
    verify(&narrow, &out, &["--tolerance", "1e-6"]).success();
}

/// Single experts stay as they are, so that one factor for all goes into alpha.
#[test]
fn single_experts_get_a_plain_configuration() {
    let work = TempDir::new().unwrap();
    let (original, out) = (work.path().join("original"), work.path().join("out"));
    fs::create_dir(&original).unwrap();
    let mut tensors = Tensors::new();
    for (seed, module) in ["0.w1", "0.w2", "0.w3", "1.w1", "1.w2", "1.w3"].iter().enumerate() {
        for layer in 0..2 {
            let name = format!("base_model.model.model.layers.{layer}.block_sparse_moe.experts.{module}");
            let values = |salt: usize| (0..16).map(|i| ((i * 7 + seed * 3 + salt) % 11) as f32 / 10.0 - 0.5).collect();
            tensors.insert(format!("{name}.lora_A.default.weight"), (vec![4, 4], values(1)));
            tensors.insert(format!("{name}.lora_B.default.weight"), (vec![4, 4], values(2 + layer)));
            let query = name.replace(&format!("block_sparse_moe.experts.{module}"), "self_attn.q_proj");
            tensors.insert(format!("{query}.lora_A.default.weight"), (vec![4, 4], values(3)));
            tensors.insert(format!("{query}.lora_B.default.weight"), (vec![4, 4], values(4)));
        }
    }
    write_safetensors(&original.join("adapter_model.safetensors"), &tensors);
    let config = |more: Value| {
        let mut config = json!({"r": 4, "lora_alpha": 8, "use_rslora": true});
        config["target_modules"] = json!(["q_proj", "w1", "w2", "w3"]);
        more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
        write_config(&original, config);
    };
    config(json!({}));
    for boundary in ["all", "1"] {
        cut(&original, &out, &["--portable", "--boundary", boundary, "--force"]).success();
        verify(&original, &out, &["--tolerance", "1e-6"]).success();
        let config = read_json(&out.join("adapter_config.json"));
        // 8 / √4 is 16 / 4.
        assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(4), &json!(16)), "{config}");
        assert_eq!(config["use_rslora"], json!(false));
        // PEFT puts two of them together, with both of their ranks, where it is told of parameters.
        if boundary == "1" {
            assert_eq!(config["rank_pattern"], json!({r".*\.gate_up_proj": 8}), "{config}");
            assert_eq!(config["alpha_pattern"], json!({r".*\.gate_up_proj": 32.0}), "{config}");
        }
        let bytes = fs::read(out.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert!(tensors.names().iter().all(|name| !name.contains("default")));
    }
    fs::remove_dir_all(&out).unwrap();
    config(json!({"target_modules": r".*\.experts\.\d+\.w\d"}));
    cut(&original, &out, &["--portable"]).code(3);
    assert!(!out.exists());
}

/// Nothing but the configuration says what rank a module without tensors has.
#[test]
fn zeros_of_a_rank_that_no_module_has_are_refused() {
    let work = TempDir::new().unwrap();
    let (adapter, out) = (work.path().join("adapter"), work.path().join("out"));
    copy_folder(&fixture(ADAPTER), &adapter);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    for rank in [8u64, 1_000_000_000_000_000] {
        config["rank_pattern"] = json!({"layers.7.self_attn.q_proj": rank});
        fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
        let assert = cut(&adapter, &out, &["--boundary", "all", "--pad-zeros=9"]).code(3);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(&format!("the rank {rank} for `model.layers.7.self_attn.q_proj`")), "{text}");
        assert!(text.contains(adapter.to_str().unwrap()) && !out.exists(), "{text}");
    }
}

/// Sizes of the modules of the random adapters.
const INPUTS: usize = 5;
const OUTPUTS: usize = 3;

/// ΔW of each module by PEFT's formula, with the alpha and the rank given.
fn deltas(folder: &Path, scaling: impl Fn(&str, usize) -> f64) -> BTreeMap<String, Vec<f64>> {
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let data = tensors.tensor(name).unwrap().data();
        data.chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()).into()).collect()
    };
    let mut deltas = BTreeMap::new();
    for name in tensors.names().into_iter().filter(|name| name.contains("lora_A")) {
        let rank = tensors.tensor(name).unwrap().shape()[0];
        let (a, b) = (values(name), values(&name.replace("lora_A", "lora_B")));
        let module = name.strip_suffix(".lora_A.weight").unwrap().strip_prefix("base_model.model.").unwrap();
        let scaling = scaling(module, rank);
        let cell = |row: usize, column: usize| -> f64 {
            (0..rank).map(|k| scaling * b[row * rank + k] * a[k * INPUTS + column]).sum()
        };
        let cells = (0..OUTPUTS).flat_map(|row| (0..INPUTS).map(move |column| (row, column)));
        deltas.insert(module.to_string(), cells.map(|(row, column)| cell(row, column)).collect());
    }
    deltas
}

/// A module's rank and alpha.
fn any_module() -> impl Strategy<Value = (usize, u32)> {
    (1usize..6, 1u32..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_ranks_alphas_and_rslora_give_the_same_change(
        modules in prop::collection::vec(any_module(), 1..5),
        uses_rslora: bool,
        seed in 0u32..1000,
    ) {
        let folder = TempDir::new().unwrap();
        let (original, out) = (folder.path().join("original"), folder.path().join("out"));
        fs::create_dir(&original).unwrap();
        let (mut tensors, mut ranks, mut alphas) = (Tensors::new(), json!({}), json!({}));
        let random = |count: usize, salt: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 37 + salt * 101 + seed as usize * 7) % 211) as f32 / 100.0 - 1.0).collect()
        };
        for (layer, &(rank, alpha)) in modules.iter().enumerate() {
            let module = format!("model.layers.{layer}.self_attn.q_proj");
            let name = |part: &str| format!("base_model.model.{module}.{part}.weight");
            tensors.insert(name("lora_A"), (vec![rank, INPUTS], random(rank * INPUTS, layer)));
            tensors.insert(name("lora_B"), (vec![OUTPUTS, rank], random(OUTPUTS * rank, layer + 50)));
            ranks[&module] = json!(rank);
            alphas[&module] = json!(alpha);
        }
        write_safetensors(&original.join("adapter_model.safetensors"), &tensors);
        write_config(&original, json!({
            "target_modules": ["q_proj"], "rank_pattern": ranks, "alpha_pattern": alphas, "use_rslora": uses_rslora,
        }));
        cut(&original, &out, &["--portable"]).success();
        let before = deltas(&original, |module, rank| {
            let alpha = alphas[module].as_f64().unwrap();
            if uses_rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
        });
        let config = read_json(&out.join("adapter_config.json"));
        let (r, alpha) = (config["r"].as_u64().unwrap() as usize, config["lora_alpha"].as_i64().unwrap());
        prop_assert_eq!(r, modules.iter().map(|(rank, _)| *rank).max().unwrap());
        let after = deltas(&out, |_, rank| {
            assert_eq!(rank, r);
            alpha as f64 / rank as f64
        });
        for (module, before) in &before {
            let norm = before.iter().map(|value| value * value).sum::<f64>().sqrt();
            let distance = before.iter().zip(&after[module]).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
            prop_assert!(distance <= 1e-6 * norm, "{}: {} of {}", module, distance, norm);
        }
    }
}

#[test]
fn slim_says_what_portable_and_zeros_cost() {
    let folder = TempDir::new().unwrap();
    let text = stdout(crate::support::slim(folder.path(), &["--boundary", "3", "--pad-zeros", "--portable"]).success());
    assert!(text.contains("portable: rank") && text.contains("zeros:"), "{text}");
    let report: Value = read_json(&folder.path().join("out/slim_report.json"));
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["layers", "pad-zeros", "portable"]);
    assert_eq!(steps[0]["losses"]["loss"], steps[2]["losses"]["loss"]);
    assert_eq!(steps[2]["portable"]["folded_modules"], 0);
    assert_eq!(
        steps[1]["zeros"]["bytes"].as_u64().unwrap(),
        steps[1]["bytes"].as_u64().unwrap() - steps[0]["bytes"].as_u64().unwrap()
    );
    assert_eq!(report["output"]["bytes_after"], steps[2]["bytes"]);
}
