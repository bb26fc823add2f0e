//! The losses of every boundary against transformers + PEFT (`scripts/make_pico_fixtures.py`).

use serde_json::Value;

use crate::support::{fixture, lora_slim, read_json};

/// Nats, summed over a sample. transformers' own attention variants differ by up to 6e-5; the longest rope case, whose
/// angles are rounded in another order, by 3.5e-4.
const TOLERANCE: f64 = 5e-4;

fn check(case: &str) {
    let folder = fixture("pico").join(case);
    let output = lora_slim()
        .arg("scan")
        .arg(folder.join("adapter"))
        .arg("--base")
        .arg(folder.join("base"))
        .arg("--samples")
        .arg(fixture("pico/samples.tokens.jsonl"))
        .args(["--json", "--boundary", "1", "--quiet"])
        .assert()
        .success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let expected = read_json(&folder.join("expected.json"));
    let curve = report["curve"].as_array().unwrap();
    assert!(curve.len() > 3);
    for point in curve {
        let boundary = point["boundary"].as_u64().unwrap() as usize;
        let wanted = &expected["curve"][boundary];
        assert_eq!(wanted["boundary"], point["boundary"]);
        let loss = (point["loss"].as_f64().unwrap() - wanted["loss"].as_f64().unwrap()).abs();
        assert!(loss < 2e-5, "{case}: boundary {boundary} is off by {loss} nats per token");
        let pairs = point["per_sample"].as_array().unwrap().iter().zip(wanted["per_sample"].as_array().unwrap());
        for (sample, (got, wanted)) in pairs.enumerate() {
            let difference = (got.as_f64().unwrap() - wanted.as_f64().unwrap()).abs();
            assert!(difference < TOLERANCE, "{case}: boundary {boundary}, sample {sample} is off by {difference} nats");
        }
    }
}

#[test]
fn llama_with_llama3_rope() {
    check("llama-llama3-rope");
}

#[test]
fn llama_with_linear_rope_and_biases() {
    check("llama-linear");
}

#[test]
fn llama_with_dynamic_rope() {
    check("llama-dynamic");
}

#[test]
fn llama_with_yarn() {
    check("llama-yarn");
}

#[test]
fn mistral_with_a_window_in_bf16_shards() {
    check("mistral");
}

#[test]
fn qwen2_with_patterns_and_missing_layers() {
    check("qwen2");
}

#[test]
fn llama_in_gguf() {
    check("llama-gguf");
}

#[test]
fn qwen3_with_norms_of_each_head() {
    check("qwen3");
}

#[test]
fn smollm3_with_a_layer_without_rope() {
    check("smollm3");
}

#[test]
fn granite_with_multipliers() {
    check("granite");
}

#[test]
fn olmo2_with_norms_after_each_block() {
    check("olmo2");
}

#[test]
fn gemma_with_scaled_embeddings() {
    check("gemma");
}

#[test]
fn gemma2_with_soft_caps_and_alternating_windows() {
    check("gemma2");
}

#[test]
fn gemma3_with_two_ropes() {
    check("gemma3");
}
