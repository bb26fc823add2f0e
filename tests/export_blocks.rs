//! `--dtype q8_0`: GGUF files in blocks of 8 bits, against the gguf package (`scripts/fixtures/q8_0.py`), and their losses.

use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::tensors::TensorStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::export::export;
use crate::support::{
    Tensors, document, fixture, lora_slim, read_json, read_safetensors, stdout, write_config, write_safetensors,
};

const MODULE: &str = "model.layers.0.self_attn.q_proj";

fn base() -> PathBuf {
    fixture("kinds/base")
}

/// Numbers of a field of the reference, by rows.
fn numbers(reference: &Value, field: &str) -> Vec<f32> {
    let rows = reference[field].as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap()).map(|number| number.as_f64().unwrap() as f32).collect()
}

/// An adapter of one module, whose `lora_A` has these rows.
fn write_adapter(path: &Path, a: Vec<f32>, rank: usize) {
    std::fs::create_dir_all(path).unwrap();
    let outputs = read_safetensors(&base().join("model.safetensors"))[&format!("{MODULE}.weight")].0[0];
    // Numbers of f16; nothing for the row with the large ones.
    let value = |place: usize| if place % rank == 5 { 0.0 } else { (place % 13) as f32 / 64.0 - 0.1015625 };
    let b = (0..outputs * rank).map(value).collect();
    let name = |part: &str| format!("base_model.model.{MODULE}.lora_{part}.weight");
    let tensors = Tensors::from([(name("A"), (vec![rank, 32], a)), (name("B"), (vec![outputs, rank], b))]);
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
    write_config(path, json!({"r": rank, "lora_alpha": rank, "target_modules": [MODULE], "task_type": "CAUSAL_LM"}));
}

fn loss(adapter: &Path, more: &[&str]) -> Value {
    let mut command = lora_slim();
    command.arg("scan").arg(adapter).arg("--base").arg(base()).arg("--samples");
    command.arg(fixture("pico/samples.tokens.jsonl")).args(["--precision", "f32", "--json", "--quiet"]).args(more);
    document(stdout(command.assert().success()))
}

#[test]
fn blocks_are_those_of_the_gguf_package_and_losses_those_of_the_blocks() {
    let reference = read_json(&fixture("q8_0.json"));
    let folder = TempDir::new().unwrap();
    let (adapter, rounded, out) =
        (folder.path().join("adapter"), folder.path().join("rounded"), folder.path().join("out"));
    write_adapter(&adapter, numbers(&reference, "values"), 6);
    let text = stdout(export(&adapter, &base(), "gguf", &out, &["--dtype", "q8_0"]).success());
    assert!(
        text.contains("q8_0: 1 tensor in blocks of 8 bits, 1 in 16 bits") && text.contains("multiple of 32"),
        "{text}"
    );
    let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
    let (a, b) = ("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b");
    let hex: String = store.bytes(a).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected: String =
        reference["blocks"].as_array().unwrap().iter().map(|block| block.as_str().unwrap()).collect();
    assert_eq!(hex, expected);
    assert_eq!((store.entry(a).unwrap().encoding(), store.entry(b).unwrap().encoding()), ("Q8_0".into(), "F16".into()));
    assert_eq!(metadata.integer("general.file_type"), Some(7));
    let report = read_json(&out.join("slim_report.json"));
    let bytes: u64 = store.iter().map(|(_, entry)| entry.bytes()).sum();
    assert_eq!((&report["output"]["bytes_after"], &report["steps"][1]["bytes"]), (&json!(bytes), &json!(bytes)));
    // What the package reads from the blocks, as an adapter of its own.
    write_adapter(&rounded, numbers(&reference, "rounded"), 6);
    let scanned = loss(&adapter, &["--dtype", "q8_0", "--boundary", "1"]);
    let expected = loss(&rounded, &[]);
    assert_eq!(scanned["steps"][1]["losses"]["loss"], expected["curve"].as_array().unwrap().last().unwrap()["loss"]);
    assert_ne!(scanned["steps"][0]["losses"]["loss"], scanned["steps"][1]["losses"]["loss"], "rounding is seen");
}

#[test]
fn with_a_rank_of_32_both_factors_are_in_blocks() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_adapter(&adapter, (0..32 * 32).map(|place| (place % 29) as f32 / 100.0 - 0.14).collect(), 32);
    export(&adapter, &base(), "gguf", &out, &["--dtype", "q8_0"]).success();
    let (store, _) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
    assert!(store.iter().all(|(_, entry)| entry.encoding() == "Q8_0"));
    // What the steps wrote is what the file holds.
    let report = read_json(&out.join("slim_report.json"));
    assert!(report["steps"][1]["change"]["relative"].as_f64().unwrap() < 0.02);
    let values = store.load("blk.0.attn_q.weight.lora_a", &Device::Cpu).unwrap();
    assert_eq!(values.dims(), [32, 32]);
}

#[test]
fn blocks_are_for_gguf_files_alone() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_adapter(&adapter, vec![0.5; 64], 2);
    for format in ["peft", "mlx"] {
        let refused = export(&adapter, &base(), format, &out, &["--dtype", "q8_0"]).code(2);
        let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(text.contains("--format gguf"), "{text}");
    }
    // What was measured would be rounded again.
    write_adapter(&adapter, vec![0.5; 64], 2);
    let second = MODULE.replace(".0.", ".1.");
    let mut tensors = read_safetensors(&adapter.join("adapter_model.safetensors"));
    for (name, tensor) in tensors.clone() {
        tensors.insert(name.replace(MODULE, &second), tensor);
    }
    write_safetensors(&adapter.join("adapter_model.safetensors"), &tensors);
    let config = json!({"r": 2, "lora_alpha": 2, "target_modules": [MODULE, second], "alpha_pattern": {&second: 3}});
    write_config(&adapter, config);
    export(&adapter, &base(), "gguf", &out, &["--dtype", "q8_0"]).code(3);
    export(&adapter, &base(), "gguf", &out, &["--dtype", "q8_0", "--portable"]).success();
}
