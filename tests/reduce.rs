//! Smaller ranks and narrower types: against numpy (`scripts/fixtures/ranks.py`), by the laws of the decomposition, and as a
//! user runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lora_slim::adapter::Adapter;
use lora_slim::rewrite::{self, Pair};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ADAPTER, Tensors, copy_folder, document, fixture, lora_slim, other_samples, read_json, read_safetensors, slim,
    stdout, write_adapter, write_config, write_safetensors,
};

fn cut(adapter: &Path, out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().arg("cut").arg(adapter).arg("-o").arg(out).args(more).assert()
}

fn stderr(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// The relative change of each module.
fn changes(original: &Path, reduced: &Path) -> BTreeMap<String, f64> {
    let open = |path| Adapter::open(path, None).unwrap();
    let changes = rewrite::changes(&open(original), &open(reduced)).unwrap();
    changes.into_iter().map(|change| (change.module.clone(), change.relative())).collect()
}

/// The adapters of the reference, with their modules.
fn reference() -> Vec<(String, serde_json::Map<String, Value>)> {
    let reference = read_json(&fixture("ranks.json"));
    let adapters = reference["adapters"].as_object().unwrap();
    adapters.iter().map(|(name, modules)| (name.clone(), modules.as_object().unwrap().clone())).collect()
}

#[test]
fn singular_values_are_those_of_numpy() {
    for (folder, expected) in reference() {
        let adapter = Adapter::open(&fixture(&folder), None).unwrap();
        for (name, module) in adapter.modules() {
            let Some(expected) = expected.get(name) else { continue };
            let pair = Pair::load(&adapter, module).unwrap().unwrap();
            let norm = expected["norm"].as_f64().unwrap();
            assert!((pair.norm() / norm - 1.0).abs() < 1e-12, "{folder}, {name}");
            let values = pair.decompose().unwrap().values;
            let expected: Vec<f64> =
                expected["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(values.len(), expected.len());
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-12 * norm, "{folder}, {name}: {value} {expected}");
            }
        }
    }
}

#[test]
fn what_is_written_has_the_error_of_numpys_truncated_decomposition() {
    let folder = TempDir::new().unwrap();
    for (name, expected) in reference() {
        let ranks: Vec<String> =
            expected.values().flat_map(|m| m["errors"].as_object().unwrap().keys().cloned()).collect();
        for rank in std::collections::BTreeSet::from_iter(ranks) {
            // Widened first, because a pair keeps its type, and f16 and bf16 would be rounded coarsely.
            let (wide, out) = (folder.path().join("wide"), folder.path().join("out"));
            cut(&fixture(&name), &wide, &["--dtype", "f32", "--force"]).success();
            cut(&wide, &out, &["--rank", &rank, "--force"]).success();
            let changes = changes(&fixture(&name), &out);
            for (module, expected) in &expected {
                let Some(error) = expected["errors"][&rank].as_f64() else { continue };
                let change = changes[module];
                assert!((change - error).abs() < 1e-5 * error, "{name}, {module}, rank {rank}: {change} {error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is lost is what the dropped values amount to (Eckart and Young), and nothing of them at full rank.
    #[test]
    fn the_error_is_that_of_the_dropped_values(
        rank in 1usize..9, inputs in 1usize..20, outputs in 1usize..20, deficient in any::<bool>(), seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut a: Vec<f32> = (0..rank * inputs).map(|_| random.f32() - 0.5).collect();
        let b: Vec<f32> = (0..outputs * rank).map(|_| random.f32() - 0.5).collect();
        if deficient {
            // Equal rows: all but one of the values are nothing.
            a = a[..inputs].repeat(rank);
        }
        let pair = Pair::new(&a, &b, rank, 1.5);
        let decomposition = pair.decompose().unwrap();
        let values = &decomposition.values;
        let norm = pair.norm();
        let root = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        prop_assert!((root(values) - norm).abs() <= 1e-12 * norm);
        for kept in 1..=values.len() {
            let (a, b) = (decomposition.first(kept, 0.5), decomposition.second(kept, 0.5));
            let distance = pair.distance(&Pair::new(&a, &b, kept, 2.0)).unwrap();
            // Factors are rounded to f32.
            prop_assert!((distance - root(&values[kept..])).abs() <= 1e-6 * norm, "{} {}", distance, root(&values[kept..]));
        }
    }
}

/// An adapter of two modules, the second of which has rank 1 in rank 2.
fn uneven(path: &Path) {
    let modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
    write_adapter(path, &modules, json!({"target_modules": ["q_proj"], "use_rslora": true}));
    let mut tensors = Tensors::new();
    for (module, second) in modules.iter().zip([[5.0, -2.0, 3.0, 1.0], [2.0, 4.0, 6.0, 8.0]]) {
        let a = [[1.0, 2.0, 3.0, 4.0], second].concat();
        tensors.insert(format!("base_model.model.{module}.lora_A.weight"), (vec![2, 4], a));
        let b = vec![1.0, 0.5, -1.0, 2.0, 0.5, 1.0, 2.0, -1.0];
        tensors.insert(format!("base_model.model.{module}.lora_B.weight"), (vec![4, 2], b));
    }
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
}

#[test]
fn ranks_may_differ_by_module() {
    let folder = TempDir::new().unwrap();
    let (path, out) = (folder.path().join("adapter"), folder.path().join("out"));
    uneven(&path);
    let text = stdout(cut(&path, &out, &["--rank", "energy:0.999999"]).success());
    assert!(text.contains("rank energy:0.999999") && text.contains("q_proj 1-2 (mean 1.5)"), "{text}");
    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!(config["r"], 2);
    assert_eq!(config["lora_alpha"], 2);
    assert_eq!(config["use_rslora"], false);
    assert_eq!(config["rank_pattern"], json!({r"^(?:model\.layers\.1\.self_attn\.q_proj)": 1}));
    let adapter = Adapter::open(&out, None).unwrap();
    assert_eq!(adapter.config.scaling_of("model.layers.0.self_attn.q_proj"), 1.0);
    assert_eq!(adapter.config.scaling_of("model.layers.1.self_attn.q_proj"), 2.0);
    assert!(changes(&path, &out).values().all(|&change| change < 1e-6));
    let report = read_json(&out.join("slim_report.json"));
    assert_eq!(
        report["steps"][1]["ranks"][0],
        json!({"module_type": "q_proj", "modules": 2, "least": 1, "most": 2, "mean": 1.5})
    );
    assert_eq!(report["output"]["bytes_after"], report["steps"][1]["bytes"]);
    // What was reduced can be cut and reduced again.
    let again = folder.path().join("again");
    cut(&out, &again, &["--keep-layers", "1", "--rank", "1"]).success();
    assert!(changes(&path, &again).values().all(|&change| change < 1e-6));
}

#[test]
fn what_was_never_trained_stays_nothing() {
    let folder = TempDir::new().unwrap();
    let (path, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_adapter(&path, &["model.layers.0.q_proj"], json!({"target_modules": ["q_proj"]}));
    let name = "base_model.model.model.layers.0.q_proj.lora_A.weight";
    let b = (vec![4, 2], vec![0.0; 8]);
    let tensors = Tensors::from([(name.into(), (vec![2, 4], vec![0.5; 8])), (name.replace("lora_A", "lora_B"), b)]);
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
    cut(&path, &out, &["--rank", "energy:0.9"]).success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["r"], 1);
    assert_eq!(changes(&path, &out).into_values().collect::<Vec<_>>(), [0.0]);
}

#[test]
fn a_rank_is_never_raised() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    cut(&fixture(ADAPTER), &out, &["--rank", "1000"]).success();
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let cut = folder.path().join("cut");
        lora_slim()
            .arg("cut")
            .arg(fixture(ADAPTER))
            .args(["--keep-layers", "0-5", "--force", "-o"])
            .arg(&cut)
            .assert()
            .success();
        // The header of the weights names the steps.
        let content = |folder: &Path| match name {
            "adapter_config.json" => Value::String(fs::read_to_string(folder.join(name)).unwrap()),
            _ => json!(read_safetensors(&folder.join(name))),
        };
        assert_eq!(content(&out), content(&cut), "{name}");
    }
}

#[test]
fn losses_are_those_of_what_is_written() {
    let folder = TempDir::new().unwrap();
    let folder_of_samples = TempDir::new().unwrap();
    let held_out = other_samples(folder_of_samples.path());
    let more = [
        "--boundary",
        "4",
        "--rank",
        "1",
        "--dtype",
        "bf16",
        "--test",
        held_out.to_str().unwrap(),
        "--report",
        "page.html",
    ];
    let text = stdout(slim(folder.path(), &more).success());
    assert!(text.contains("rank 1") && text.contains("dtype bf16") && text.contains("on held-out samples"), "{text}");
    let out = folder.path().join("out");
    let report = read_json(&out.join("slim_report.json"));
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["layers", "rank", "dtype"]);
    assert_eq!(steps[0]["losses"]["loss"], report["chosen"]["loss"]);
    assert!(steps[1]["losses"]["loss"] != steps[2]["losses"]["loss"], "rounding is seen");
    assert_eq!(steps[2]["bytes"].as_u64().unwrap() * 2, steps[1]["bytes"].as_u64().unwrap());
    // The folder, evaluated by itself.
    let scan = lora_slim()
        .arg("scan")
        .arg(&out)
        .arg("--base")
        .arg(fixture("pico/llama-llama3-rope/base"))
        .arg("--samples")
        .arg(fixture("pico/samples.tokens.jsonl"))
        .arg("--test")
        .arg(&held_out)
        .arg("--json")
        .assert()
        .success();
    let scan = document(stdout(scan));
    let whole = scan["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
    let loss = steps[2]["losses"]["loss"].as_f64().unwrap();
    assert!((whole - loss).abs() < 1e-6, "{whole} {loss}");
    let [whole, loss] = [&scan["held_out"]["whole"], &steps[2]["held_out"]].map(|one| one["loss"].as_f64().unwrap());
    assert!((whole - loss).abs() < 1e-6, "{whole} {loss} on held-out samples");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("Step by step") && page.contains("dtype bf16") && page.contains("rank 1"));
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "nothing but the adapter and the page is left");
}

#[test]
fn types_are_rounded_to_the_nearest_even() {
    let folder = TempDir::new().unwrap();
    let (path, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_adapter(&path, &["model.layers.0.q_proj"], json!({"target_modules": ["q_proj"]}));
    let name = "base_model.model.model.layers.0.q_proj.lora_A.weight";
    // In the middle between two bf16, below an even one and above an even one; and a value of f16's subnormal range.
    let middle = 1.0 / 256.0;
    let values = vec![1.0 + middle, 1.0 + 3.0 * middle, -1.0 - middle, 3e-7, 0.0, 1.0, 65504.0, 2.0];
    let b = (vec![4, 2], vec![1.0; 8]);
    let tensors = Tensors::from([(name.into(), (vec![2, 4], values)), (name.replace("lora_A", "lora_B"), b)]);
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
    for (dtype, expected) in [
        ("bf16", [1.0, 1.015625, -1.0, 2.998_858_7e-7, 0.0, 1.0, 65536.0, 2.0]),
        ("f16", [1.0 + middle, 1.0 + 3.0 * middle, -1.0 - middle, 2.980_232_2e-7, 0.0, 1.0, 65504.0, 2.0]),
    ] {
        cut(&path, &out, &["--dtype", dtype, "--force"]).success();
        let written = Adapter::open(&out, None).unwrap();
        assert_eq!(written.weights.load_finite(name).unwrap(), expected, "{dtype}");
    }
}

#[test]
fn infinities_are_never_written() {
    let folder = TempDir::new().unwrap();
    let (path, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_adapter(&path, &["model.layers.0.q_proj"], json!({"target_modules": ["q_proj"]}));
    let name = "base_model.model.model.layers.0.q_proj.lora_A.weight";
    let tensors = Tensors::from([
        (name.into(), (vec![2, 4], vec![65520.0; 8])),
        (name.replace("lora_A", "lora_B"), (vec![4, 2], vec![1.0; 8])),
    ]);
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
    let text = stderr(cut(&path, &out, &["--dtype", "f16"]).code(3));
    assert!(text.contains(name) && text.contains("f16") && text.contains("bf16"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the input is there");
}

#[test]
fn what_is_no_pair_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    for (kind, word) in [
        ("loha", "LoHa"),
        ("adalora", "AdaLoRA"),
        ("ia3", "IA3"),
        ("target-parameters-down", "target_parameters"),
        ("expert-modules", "experts"),
        ("pissa", "pissa"),
    ] {
        let adapter = fixture("kinds").join(kind);
        let text = stderr(cut(&adapter, &folder.path().join("out"), &["--rank", "1", "--force"]).code(3));
        assert!(text.contains(word) && text.contains("--dtype"), "{kind}: {text}");
        cut(&adapter, &folder.path().join("out"), &["--dtype", "bf16", "--force"]).success();
    }
}

#[test]
fn wrong_rules_are_usage() {
    for rule in ["0", "energy:2", "sv_fro:0.9", "8,"] {
        cut(&fixture(ADAPTER), Path::new("out"), &["--rank", rule]).code(2);
    }
}

#[test]
fn verify_tells_a_reduction_from_a_fault() {
    let folder = TempDir::new().unwrap();
    let (original, out) = (fixture(ADAPTER), folder.path().join("out"));
    cut(&original, &out, &["--boundary", "3", "--rank", "1", "--dtype", "bf16"]).success();
    let verify = |more: &[&str]| lora_slim().arg("verify").arg(&original).arg(&out).args(more).assert();
    let text = stdout(verify(&[]).code(5));
    assert!(text.lines().count() == 2 && text.contains("--tolerance"), "{text}");
    let largest = changes(&original, &out).into_values().fold(0.0, f64::max);
    let text = stdout(verify(&["--tolerance", &(largest * 0.999).to_string()]).code(5));
    assert!(text.lines().count() == 2 && text.contains("ΔW"), "{text}");
    let text = stdout(verify(&["--tolerance", &(largest * 1.001).to_string()]).success());
    assert!(text.contains("layers 0-2") && text.contains("ΔW changed"), "{text}");
    // A tensor that is missing is missing, whatever is tolerated.
    let broken = folder.path().join("broken");
    copy_folder(&out, &broken);
    write_config(&broken, json!({"r": 1, "target_modules": ["q_proj"]}));
    let verify = lora_slim().arg("verify").arg(&original).arg(&broken).args(["--tolerance", "0.99"]).assert();
    assert!(stdout(verify.code(5)).contains("does not name module"));
}
