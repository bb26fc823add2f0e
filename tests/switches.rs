//! Switches of configurations that are refused by name.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, fixture, lora_slim, read_json, read_safetensors, write_safetensors};

/// The error of a scan of a tiny model after changes of its configuration.
fn refused(case: &str, changes: &Value) -> String {
    let (folder, work) = (fixture("pico").join(case), TempDir::new().unwrap());
    copy_folder(&folder.join("base"), work.path());
    let mut config = read_json(&folder.join("base/config.json"));
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(work.path().join("config.json"), config.to_string()).unwrap();
    let mut scan = lora_slim();
    scan.arg("scan").arg(folder.join("adapter")).arg("--base").arg(work.path());
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn values_that_are_not_supported_are_named() {
    for (case, changes, words) in [
        ("falcon", json!({"alibi": true}), "`alibi: true`"),
        ("falcon-new", json!({"parallel_attn": false}), "`new_decoder_architecture: true` with `parallel_attn: false`"),
        ("falcon", json!({"num_ln_in_parallel_attn": 2}), "`num_ln_in_parallel_attn: 2`"),
        ("mpt", json!({"attn_config": {"alibi": false}}), "`alibi: false`"),
        ("mpt", json!({"attn_config": {"qk_ln": true}}), "`qk_ln: true`"),
        ("opt", json!({"do_layer_norm_before": false}), "`do_layer_norm_before: false`"),
        ("opt", json!({"word_embed_proj_dim": 16}), "`word_embed_proj_dim`"),
        ("apertus", json!({"hidden_act": "relu"}), "the activation `relu`"),
        ("gptj", json!({"rotary_dim": null}), "`rotary_dim`"),
        ("llama4", json!({"attention_chunk_size": null}), "`attention_chunk_size`"),
        ("phimoe", json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}), "the rope type `linear`"),
        ("granite-swa", json!({"layer_rope_theta": [1.0]}), "`layer_rope_theta`"),
        ("gemma3n", json!({"altup_active_idx": 1}), "`altup_active_idx`"),
        ("gemma3n", json!({"altup_num_inputs": 1}), "`altup_num_inputs`"),
        ("gemma3n", json!({"activation_sparsity_pattern": 0.5}), "`activation_sparsity_pattern`"),
        ("gemma3n", json!({"intermediate_size": [48, 40]}), "`intermediate_size`"),
        ("gpt-neo", json!({"attention_layers": ["global"]}), "`attention_types`"),
        ("xglm", json!({"pad_token_id": 5}), "`pad_token_id`"),
        ("cohere2-moe", json!({"expert_selection_fn": "largest"}), "`expert_selection_fn`"),
        (
            "cohere2-moe",
            json!({"shared_expert_combination_strategy": "largest"}),
            "`shared_expert_combination_strategy`",
        ),
    ] {
        let error = refused(case, &changes);
        assert!(error.contains(words), "{case}, {changes}: {error}");
    }
}

#[test]
fn saved_numbers_of_an_activation_are_refused_by_name() {
    let (case, folder) = (fixture("pico/apertus"), TempDir::new().unwrap());
    copy_folder(&case.join("adapter"), folder.path());
    let weights = folder.path().join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&weights);
    tensors.insert("base_model.model.model.layers.1.mlp.act_fn.alpha_p".into(), (vec![1], vec![0.5]));
    write_safetensors(&weights, &tensors);
    let mut config = read_json(&folder.path().join("adapter_config.json"));
    config["modules_to_save"] = json!(["act_fn"]);
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    let mut scan = lora_slim();
    scan.arg("scan").arg(folder.path()).arg("--base").arg(case.join("base"));
    let assert = scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().code(3);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("1.mlp.act_fn.alpha_p"), "{error}");
}
