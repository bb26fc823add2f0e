//! `--format gguf` and `--format mlx`: against llama.cpp's converter (`scripts/fixtures/lora_gguf.py`), and by what the factors
//! come to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::tensors::TensorStore;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::golden::base_of_kind;
use crate::support::{copy_folder, fixture, lora_slim, read_json, stdout};

pub fn export(adapter: &Path, base: &Path, format: &str, out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = lora_slim();
    command.arg("cut").arg(adapter).args(["--format", format, "-o"]).arg(out).arg("--base").arg(base);
    command.args(more).assert()
}

pub fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// The base model of a fixture, and its adapter.
pub fn case(name: &str) -> (PathBuf, PathBuf) {
    let adapter = fixture(name);
    let base = match name.strip_prefix("pico/") {
        Some(_) => adapter.parent().unwrap().join("base"),
        None => base_of_kind(&adapter),
    };
    (adapter, base)
}

/// What llama.cpp's converter gets wrong: it knows no scaling but alpha over the rank, and transposes the factors of GPT-2.
const CONVERTER_IS_WRONG: [&str; 4] =
    ["pico/gpt2/adapter", "pico/llama-linear/adapter", "pico/qwen2/adapter", "kinds/rank-alpha-patterns"];

/// What it writes though it computes something else then, what lora-slim does not, and names that only lora-slim reads.
const ONLY_CONVERTER: [&str; 5] =
    ["kinds/expert-modules", "kinds/lora-head-tied", "kinds/pissa", "kinds/router", "kinds/saved-norm-suffix"];
const ONLY_LORA_SLIM: [&str; 1] = ["kinds/default-infix"];

#[test]
fn every_adapter_is_what_llama_cpps_converter_writes() {
    let expected = read_json(&fixture("gguf.json"));
    let mut equal = 0;
    for (name, expected) in expected.as_object().unwrap() {
        let (adapter, base) = case(name);
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        let assert = export(&adapter, &base, "gguf", &out, &["--dtype", "f32"]);
        let is_refused = expected.get("refused").is_some() && !ONLY_LORA_SLIM.contains(&name.as_str());
        if is_refused || ONLY_CONVERTER.contains(&name.as_str()) {
            let text = stderr(&assert.code(3));
            assert!(text.contains("hint:") && !out.exists(), "{name}: {text}");
            continue;
        }
        assert.success();
        if CONVERTER_IS_WRONG.contains(&name.as_str()) || ONLY_LORA_SLIM.contains(&name.as_str()) {
            continue;
        }
        let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        assert_eq!(metadata.string("general.architecture"), expected["architecture"].as_str(), "{name}");
        assert_eq!(metadata.float("adapter.lora.alpha"), expected["alpha"].as_f64(), "{name}");
        assert_eq!(metadata.string("general.type"), Some("adapter"));
        assert_eq!(metadata.string("adapter.type"), Some("lora"));
        let digest = |tensor: &str| -> String {
            let hash = Sha256::digest(store.bytes(tensor).unwrap());
            hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        };
        let found: BTreeMap<String, Value> =
            store.iter().map(|(tensor, entry)| (tensor.into(), json!([entry.shape, digest(tensor)]))).collect();
        assert_eq!(json!(found), expected["tensors"], "{name}");
        equal += 1;
    }
    assert!(equal > 45, "{equal}");
}

/// What differs between modules is in the factors: with llama.cpp's own scaling, alpha over the rank of the tensor, each
/// module has the ΔW that PEFT gives it.
#[test]
fn the_scaling_of_each_module_is_in_its_factors() {
    for name in CONVERTER_IS_WRONG {
        let (path, base) = case(name);
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        export(&path, &base, "gguf", &out, &[]).success();
        let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        let alpha = metadata.float("adapter.lora.alpha").unwrap();
        let adapter = Adapter::open(&path, None).unwrap();
        let mut seen = 0;
        for (tensor, entry) in store.iter().filter(|(tensor, _)| tensor.ends_with("lora_a")) {
            let rank = entry.shape[0];
            let found = norm(&store, tensor, &tensor.replace("lora_a", "lora_b"), rank) * alpha / rank as f64;
            // Rows change their order only, so a norm finds its module.
            let is_it = |module: &String| {
                let name = |part: &str| format!("base_model.model.{module}.{part}.weight");
                let scaling = adapter.config.scaling_of(module);
                let wanted = norm(&adapter.weights, &name("lora_A"), &name("lora_B"), rank) * scaling;
                adapter.config.rank_of(module) == rank && (found / wanted - 1.0).abs() < 1e-6
            };
            assert!(adapter.modules().keys().any(is_it), "{name}: {tensor}");
            seen += 1;
        }
        assert_eq!(seen, adapter.modules().len());
    }
}

/// ‖B·A‖, the plain way.
fn norm(store: &TensorStore, a: &str, b: &str, rank: usize) -> f64 {
    let load = |name: &str| store.load(name, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (load(a), load(b));
    let columns = a.len() / rank;
    let cell = |row: &[f32], column: usize| -> f64 {
        row.iter().enumerate().map(|(k, &value)| f64::from(value) * f64::from(a[k * columns + column])).sum()
    };
    b.chunks(rank).flat_map(|row| (0..columns).map(move |c| cell(row, c).powi(2))).sum::<f64>().sqrt()
}

#[test]
fn a_gguf_base_gives_the_same_file_as_its_folder() {
    let mut compared = 0;
    for folder in fs::read_dir(fixture("pico")).unwrap().map(|entry| entry.unwrap().path()) {
        let (gguf, base) = (folder.join("gguf/base.gguf"), folder.join("base"));
        if !gguf.exists() || folder.join("gguf/adapter").exists() {
            continue;
        }
        let work = TempDir::new().unwrap();
        let (one, other) = (work.path().join("one"), work.path().join("other"));
        if export(&folder.join("adapter"), &base, "gguf", &one, &[]).get_output().status.success() {
            export(&folder.join("adapter"), &gguf, "gguf", &other, &[]).success();
            let bytes = |out: &Path| fs::read(out.join("adapter.gguf")).unwrap();
            assert!(bytes(&one) == bytes(&other), "{}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn types_are_those_of_the_adapter_or_as_wanted() {
    let (adapter, base) = case("kinds/bf16");
    let work = TempDir::new().unwrap();
    for (more, encoding) in [(&[][..], "bf16"), (&["--dtype", "f16"], "f16"), (&["--dtype", "f32"], "f32")] {
        let out = work.path().join(encoding);
        export(&adapter, &base, "gguf", &out, more).success();
        let (store, _) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        let types: Vec<String> = store.iter().map(|(_, entry)| entry.encoding().to_lowercase()).collect();
        assert!(types.iter().all(|found| found == encoding), "{types:?}");
    }
}

#[test]
fn mlx_has_the_factors_transposed_and_all_layers_declared() {
    let (path, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    export(&path, &base, "mlx", &out, &["--boundary", "2"]).success();
    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!(config["num_layers"], read_json(&base.join("config.json"))["num_hidden_layers"]);
    assert_eq!((&config["lora_parameters"]["rank"], &config["lora_parameters"]["scale"]), (&json!(2), &json!(4.0)));
    let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let adapter = Adapter::open(&path, None).unwrap();
    assert_eq!(tensors.len(), adapter.tensors().filter(|t| adapter.layer_of(&t.key.module) < Some(2)).count());
    for (name, tensor) in tensors.tensors() {
        let peft = name.replace("lora_a", "lora_A").replace("lora_b", "lora_B");
        let original = adapter.load(&format!("base_model.model.{peft}.weight"), &Device::Cpu).unwrap();
        let expected: Vec<f32> = original.t().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> =
            tensor.data().chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
        assert_eq!((tensor.shape(), values), (original.t().unwrap().dims(), expected), "{name}");
    }
}

#[test]
fn ranks_that_differ_are_mlxs_only_when_portable() {
    let (adapter, base) = case("kinds/rank-alpha-patterns");
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    let text = stderr(&export(&adapter, &base, "mlx", &out, &[]).code(3));
    assert!(text.contains("ranks that differ") && text.contains("--portable"), "{text}");
    export(&adapter, &base, "mlx", &out, &["--portable"]).success();
    let (adapter, base) = case("kinds/adalora");
    for format in ["gguf", "mlx"] {
        let out = work.path().join(format);
        export(&adapter, &base, format, &out, &[]).code(3);
        export(&adapter, &base, format, &out, &["--portable"]).success();
    }
}

#[test]
fn what_comes_out_says_what_it_is() {
    let (adapter, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    for (format, file, loads) in
        [("gguf", "adapter.gguf", "loads in llama.cpp, Ollama"), ("mlx", "adapters.safetensors", "loads in MLX-LM")]
    {
        let out = work.path().join(format);
        let text = stdout(export(&adapter, &base, format, &out, &["--boundary", "all"]).success());
        assert!(text.contains(loads) && !text.contains("refused"), "{text}");
        assert!(out.join(file).exists());
        assert_eq!(read_json(&out.join("slim_report.json"))["output"]["format"], format);
        let before = fs::read(out.join(file)).unwrap();
        export(&adapter, &base, format, &out, &["--boundary", "all", "--force"]).success();
        assert!(fs::read(out.join(file)).unwrap() == before, "the same input gives the same bytes");
    }
}

#[test]
fn slim_writes_other_forms_too() {
    let work = TempDir::new().unwrap();
    let text = stdout(crate::support::slim(work.path(), &["--boundary", "3", "--format", "gguf"]).success());
    assert!(text.contains("loads in llama.cpp"), "{text}");
    let (store, _) = TensorStore::open_gguf(&work.path().join("out/adapter.gguf")).unwrap();
    let report = read_json(&work.path().join("out/slim_report.json"));
    let bytes: u64 = store.iter().map(|(_, entry)| entry.bytes()).sum();
    assert_eq!(report["output"]["bytes_after"], bytes);
    assert!(store.iter().all(|(name, _)| ["blk.0.", "blk.1.", "blk.2."].iter().any(|layer| name.starts_with(layer))));
}

/// A copy of an adapter with other values in its configuration.
fn configured(name: &str, work: &Path, more: &[(&str, Value)]) -> PathBuf {
    let folder = work.join("adapter");
    copy_folder(&fixture(name), &folder);
    let mut config = read_json(&folder.join("adapter_config.json"));
    more.iter().for_each(|(key, value)| config[*key] = value.clone());
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

/// llama.cpp takes an alpha of 0 for none, and a scaling of 1 (`llama_adapter_lora_weight::get_scale`).
#[test]
fn an_alpha_of_zero_stays_no_change() {
    let work = TempDir::new().unwrap();
    let adapter =
        configured("pico/mistral/adapter", work.path(), &[("lora_alpha", json!(0)), ("alpha_pattern", json!({}))]);
    let out = work.path().join("out");
    export(&adapter, &fixture("pico/mistral/base"), "gguf", &out, &[]).success();
    let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
    assert_eq!(metadata.float("adapter.lora.alpha"), Some(1.0));
    for (name, _) in store.iter().filter(|(name, _)| name.ends_with("lora_b")) {
        assert!(store.load_finite(name).unwrap().iter().all(|&value| value == 0.0), "{name}");
    }
}

#[test]
fn mlx_has_no_scale_of_zero() {
    let work = TempDir::new().unwrap();
    let more = [("lora_alpha", json!(0)), ("alpha_pattern", json!({"layers.0.self_attn.q_proj": 8}))];
    let adapter = configured("pico/mistral/adapter", work.path(), &more);
    let out = work.path().join("out");
    export(&adapter, &fixture("pico/mistral/base"), "mlx", &out, &[]).success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["lora_parameters"]["scale"], 2.0);
    let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let is_zero = tensor.data().iter().all(|&byte| byte & 0x7f == 0);
        assert_eq!(is_zero, name.ends_with("lora_b") && name != "model.layers.0.self_attn.q_proj.lora_b", "{name}");
    }
}

#[test]
fn mlx_has_stacks_under_names_of_its_own() {
    for (case, theirs, ours) in [
        ("pico/gemma3-vl", "language_model.model.layers.", "model.language_model.layers."),
        ("pico/gpt-neox", "model.h.", "gpt_neox.layers."),
    ] {
        let (path, base) = (fixture(case).join("adapter"), fixture(case).join("base"));
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        export(&path, &base, "mlx", &out, &[]).success();
        let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
        let found: Vec<String> =
            SafeTensors::deserialize(&bytes).unwrap().names().iter().map(|name| name.to_string()).collect();
        let adapter = Adapter::open(&path, None).unwrap();
        let name = |module: &String| format!("{}.lora_a", module.replacen(ours, theirs, 1));
        assert_eq!(found.len(), 2 * adapter.modules().len());
        assert!(adapter.modules().keys().all(|module| found.contains(&name(module))), "{found:?}");
    }
}
